//! Assumptions about a model without a card, one that another tool wrote.
//!
//! Labels may be in its metadata (`names`, as Ultralytics writes them, or `class_names`). The image size may be in the
//! shape of its input. Mean and standard deviation of the normalisation are in no file: they have to be given.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use ferronnx_models::card::{
    CARD_FORMAT, InputForm, ModelCard, Precision, Preprocessing, Provenance, labels_in,
};
use ferronnx_models::onnx::{Dim, Element};
use serde_json::Value;

use crate::error::{Error, ModelError, Result};
use crate::preprocess::CHANNELS;
use crate::session::{Session, describe};

/// Facts about a model without a card; an absent one is looked for in the file.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Assumptions {
    /// Names of the classes, in the order of the outputs.
    pub labels: Option<Vec<String>>,
    /// Height and width of the input, in pixels.
    pub image_size: Option<u32>,
    /// Length of an image's shorter side before the centre is cut out, in pixels; chosen by
    /// [`Preprocessing::for_size`] when absent.
    pub resize: Option<u32>,
    /// Mean per channel, of values in [0, 1]; not needed for a model that takes bytes.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation per channel, of values in [0, 1]; not needed for a model that takes bytes.
    pub std: Option<[f32; 3]>,
}

impl Assumptions {
    /// Tells whether nothing is assumed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Builds the card that the model would have.
    pub(crate) fn card(&self, session: &Session) -> std::result::Result<ModelCard, ModelError> {
        let input = match session.input().element {
            Element::Uint8 => InputForm::Uint8,
            _ => InputForm::Float,
        };
        let card = ModelCard {
            format: CARD_FORMAT,
            labels: self.labels(session)?,
            preprocessing: self.preprocessing(session, input)?,
            input,
            precision: Precision::default(),
            observed: Vec::new(),
            architecture: Value::Null,
            training: None,
            provenance: Provenance {
                producer: "another tool".into(),
                engine: "unknown".into(),
                created: "unknown".into(),
            },
        };
        card.check()?;
        Ok(card)
    }

    fn labels(&self, session: &Session) -> std::result::Result<Vec<String>, ModelError> {
        let in_file = || {
            let texts = ["names", "class_names"].into_iter().filter_map(|key| session.metadata(key));
            texts.into_iter().find_map(|text| labels_in(&text))
        };
        self.labels.clone().or_else(in_file).ok_or(ModelError::NoLabels)
    }

    fn preprocessing(
        &self,
        session: &Session,
        input: InputForm,
    ) -> std::result::Result<Preprocessing, ModelError> {
        let shape = &session.input().shape;
        let side = match (input, &shape[..]) {
            (InputForm::Float, [_, _, side, _]) | (InputForm::Uint8, [_, side, _, _]) => side,
            _ => return Err(ModelError::NotImages { shape: describe(shape) }),
        };
        let in_file = match side {
            Dim::Fixed(size) => u32::try_from(*size).ok(),
            Dim::Symbol(_) => None,
        };
        let size = self.image_size.or(in_file);
        let size = size.ok_or_else(|| ModelError::NoImageSize { shape: describe(shape) })?;
        let convention = Preprocessing::for_size(size.max(1));
        // A file that takes bytes normalises them itself.
        let known = match input {
            InputForm::Float => self.mean.zip(self.std),
            InputForm::Uint8 => Some(([0.0; CHANNELS], [1.0; CHANNELS])),
        };
        let (mean, std) = known.ok_or(ModelError::NoNormalisation)?;
        Ok(Preprocessing { resize: self.resize.unwrap_or(convention.resize), mean, std, ..convention })
    }
}

/// Reads labels from the file at `path`, one a line; empty lines are skipped.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) or [`Io`](crate::ErrorKind::Io), naming the file.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// Text that is not one number per channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected three numbers, as 0.485,0.456,0.406")]
pub struct ParseChannelsError;

/// Parses one number per channel, separated by commas: `0.485,0.456,0.406`.
///
/// # Errors
/// [`ParseChannelsError`] for anything but three numbers.
pub fn parse_channels(text: &str) -> std::result::Result<[f32; CHANNELS], ParseChannelsError> {
    let numbers: std::result::Result<Vec<f32>, _> =
        text.split(',').map(|number| f32::from_str(number.trim())).collect();
    numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or(ParseChannelsError)
}
