//! What is assumed of a model without a card, one that another tool made.
//!
//! Labels may be in its metadata (`names`, as Ultralytics writes them, or `class_names`), the size of its images in the
//! shape of its input. How images are normalised no file says: it has to be known.

use std::fs;
use std::path::Path;

use ferronnx_models::card::{
    CARD_FORMAT, CARD_KEY, InputForm, ModelCard, Precision, Preprocessing, Provenance, labels_in,
};
use ferronnx_models::onnx::{Dim, Element};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::preprocess::CHANNELS;
use crate::session::{Session, describe};

/// What is known of a model without a card; what is absent is looked for in the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assumptions {
    /// Names of the classes, in the order of the outputs.
    pub labels: Option<Vec<String>>,
    /// Height and width of the input, in pixels.
    pub image_size: Option<u32>,
    /// Length of an image's shorter side before the centre is cut out, in pixels; by the convention for the size if not
    /// said, see [`Preprocessing::for_size`].
    pub resize: Option<u32>,
    /// Per channel, in [0, 1] units; for bytes as input not needed.
    pub mean: Option<[f32; 3]>,
    /// Per channel, in [0, 1] units; for bytes as input not needed.
    pub std: Option<[f32; 3]>,
}

impl Assumptions {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The card that the model would have.
    pub(crate) fn card(&self, session: &Session) -> std::result::Result<ModelCard, String> {
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
        card.check().map_err(|error| error.to_string())?;
        Ok(card)
    }

    fn labels(&self, session: &Session) -> std::result::Result<Vec<String>, String> {
        let in_file = || {
            let texts = ["names", "class_names"].into_iter().filter_map(|key| session.metadata(key));
            texts.into_iter().find_map(|text| labels_in(&text))
        };
        self.labels.clone().or_else(in_file).ok_or_else(|| {
            format!(
                "has neither a model card (`{CARD_KEY}`) nor `names`, so that its classes are unknown: name them with \
                 --labels FILE, one a line"
            )
        })
    }

    fn preprocessing(
        &self,
        session: &Session,
        input: InputForm,
    ) -> std::result::Result<Preprocessing, String> {
        let shape = &session.input().shape;
        let side = match (input, &shape[..]) {
            (InputForm::Float, [_, _, side, _]) | (InputForm::Uint8, [_, side, _, _]) => side,
            _ => return Err(format!("takes {}, not images", describe(shape))),
        };
        let in_file = match side {
            Dim::Fixed(size) => u32::try_from(*size).ok(),
            Dim::Symbol(_) => None,
        };
        let size = self.image_size.or(in_file).ok_or_else(|| {
            let shape = describe(shape);
            format!("has no model card, and takes images of any size ({shape}): choose with --image-size N")
        })?;
        let convention = Preprocessing::for_size(size.max(1));
        // A file that takes bytes normalises them itself.
        let known = match input {
            InputForm::Float => self.mean.zip(self.std),
            InputForm::Uint8 => Some(([0.0; CHANNELS], [1.0; CHANNELS])),
        };
        let (mean, std) = known.ok_or(
            "has no model card, so that how its images are normalised is unknown: say it with --mean and --std (for \
             ImageNet's, 0.485,0.456,0.406 and 0.229,0.224,0.225; for values from 0 to 1, 0,0,0 and 1,1,1)",
        )?;
        Ok(Preprocessing { resize: self.resize.unwrap_or(convention.resize), mean, std, ..convention })
    }
}

/// The labels in the file at `path`, one a line.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Io`].
pub fn read_labels(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// Three numbers after commas, one per channel, as users write a mean.
///
/// # Errors
/// What is expected.
pub fn parse_channels(text: &str) -> std::result::Result<[f32; CHANNELS], String> {
    let numbers: std::result::Result<Vec<f32>, _> =
        text.split(',').map(|number| number.trim().parse()).collect();
    numbers
        .ok()
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "expected three numbers, as 0.485,0.456,0.406".into())
}
