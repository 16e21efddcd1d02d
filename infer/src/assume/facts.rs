//! Facts that a model file, or a file beside it, states about the model.

use ferronnx_models::card::{
    Activation, Border, CentreRounding, ColorOrder, Fit, Layout, ResizeFilter, Size,
};

use super::Range;

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
    /// Step from the outputs to probabilities.
    pub activation: Option<Stated<Activation>>,
    /// Probability from which a class is selected.
    pub threshold: Option<Stated<f32>>,
}
