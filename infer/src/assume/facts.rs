//! Facts that a model file, or a file beside it, states about the model.

use ferronnx_models::card::{
    Activation, Border, CentreRounding, ColorOrder, Fit, Layout, ResizeFilter, Size,
};

use super::label_file::LabelFileError;
use super::{Assumptions, Range};

/// Value with the place that states it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stated<T> {
    /// The value.
    pub value: T,
    /// Place that states it, such as "`imgsz` in the metadata (Ultralytics)".
    pub source: String,
}

/// Facts that a model file, or a file beside it, states about the model.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Facts {
    /// Names of the classes, in the order of the outputs.
    pub labels: Option<Stated<Vec<String>>>,
    /// Height and width of the input.
    pub size: Option<Stated<Size>>,
    /// Size that an image is resized for before the centre is cut out; it belongs to `fit`.
    pub resize: Option<Stated<Size>>,
    /// Way in which an image of another aspect ratio becomes an input.
    pub fit: Option<Stated<Fit>>,
    /// Rounding of the centre's left and top.
    pub centre: Option<Stated<CentreRounding>>,
    /// Colour of the border of [`Fit::Letterbox`].
    pub border: Option<Stated<Border>>,
    /// Resampling filter.
    pub filter: Option<Stated<ResizeFilter>>,
    /// Order of the dimensions of the input.
    pub layout: Option<Stated<Layout>>,
    /// Channels of the input and their order.
    pub channels: Option<Stated<ColorOrder>>,
    /// Range of values before mean and standard deviation.
    pub range: Option<Stated<Range>>,
    /// Mean of each channel of the input.
    pub mean: Option<Stated<Vec<f32>>>,
    /// Standard deviation of each channel of the input.
    pub std: Option<Stated<Vec<f32>>>,
    /// Step from logits to probabilities.
    pub activation: Option<Stated<Activation>>,
    /// Probability from which a class is selected.
    pub threshold: Option<Stated<f32>>,
    /// Statements that cannot be used: what they are about has to be given.
    pub unusable: Vec<Unusable>,
    /// True if an image's result depends on the other images of a batch, so that each has to be in one of its own.
    pub one_by_one: bool,
}

/// Statement that cannot be used, because it is damaged or asks for something that is not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} says `{value}`, which cannot be used")]
pub struct Unusable {
    /// Name of the fact, as in [`Assumed`](super::Assumed).
    pub what: &'static str,
    /// Value, shortened where it is long.
    pub value: String,
    /// Place that states it.
    pub place: String,
    /// Reason, where the value is damaged.
    #[source]
    pub reason: Option<Box<LabelFileError>>,
}

impl Unusable {
    pub(super) fn new(what: &'static str, value: impl ToString, place: &str) -> Self {
        const LONGEST: usize = 40;
        let text = value.to_string();
        let mut value: String = text.chars().take(LONGEST).collect();
        if value.len() < text.len() {
            value.push('…');
        }
        Self { what, value, place: place.into(), reason: None }
    }
}

impl<T> Stated<T> {
    pub(super) fn new(value: impl Into<T>, source: &str) -> Self {
        Self { value: value.into(), source: source.into() }
    }
}

impl Facts {
    /// The facts, and `others` where there is none.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            labels: self.labels.or(others.labels),
            size: self.size.or(others.size),
            resize: self.resize.or(others.resize),
            fit: self.fit.or(others.fit),
            centre: self.centre.or(others.centre),
            border: self.border.or(others.border),
            filter: self.filter.or(others.filter),
            layout: self.layout.or(others.layout),
            channels: self.channels.or(others.channels),
            range: self.range.or(others.range),
            mean: self.mean.or(others.mean),
            std: self.std.or(others.std),
            activation: self.activation.or(others.activation),
            threshold: self.threshold.or(others.threshold),
            unusable: [self.unusable, others.unusable].concat(),
            one_by_one: self.one_by_one || others.one_by_one,
        }
    }

    /// Checks that all that is stated can be used, or is given by the caller.
    ///
    /// # Errors
    /// The first statement that cannot be used.
    pub fn check(&self, given: &Assumptions) -> Result<(), Unusable> {
        let is_known = |what: &str| match what {
            "labels" => given.labels.is_some() || self.labels.is_some(),
            "image-size" => given.image_size.is_some() || self.size.is_some(),
            "fit" => given.fit.is_some() || self.fit.is_some(),
            "interpolation" => given.filter.is_some() || self.filter.is_some(),
            "channels" => given.channels.is_some() || self.channels.is_some(),
            "scale" => given.range.is_some() || given.mean.is_some() || self.range.is_some(),
            _ => false,
        };
        self.unusable.iter().find(|unusable| !is_known(unusable.what)).cloned().map_or(Ok(()), Err)
    }
}
