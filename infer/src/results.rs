//! Results of classification, in the form in which they are reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferronnx_models::card::Activation;
use serde::Serialize;

use crate::assume::Assumed;
use crate::error::Error;
use crate::files::serialize_path;

/// Class with its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Index of the class: the position of its logit.
    pub index: usize,
    /// Name of the class.
    pub label: String,
    /// Probability of the class, in [0, 1].
    pub probability: f32,
    /// True if the probability reaches the class's threshold; absent where exactly one class is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selected: Option<bool>,
}

/// Time that each step of an image took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Timings {
    /// Time to read the file and decode it.
    pub decode: f64,
    /// Time to resize and crop.
    pub preprocess: f64,
    /// Time in the network: the time of the batch divided by its images.
    pub inference: f64,
}

/// Image with its most likely classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classified {
    /// Path of the image.
    #[serde(flatten, serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Classes, most likely first.
    pub predictions: Vec<Prediction>,
    /// Step that made the scores of the network probabilities.
    pub activation: Activation,
    /// Assumptions about a model without a card, the same for all images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed: Option<Arc<[Assumed]>>,
    /// Execution provider of the network, by ONNX Runtime's name.
    pub provider: &'static str,
    /// Times of the steps, in milliseconds.
    pub timings_ms: Timings,
}

/// Image that could not be classified.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// Path of the image.
    #[serde(flatten, serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Reason, which serialises as `{"kind", "message"}`.
    pub error: Error,
}

/// Result for one image: its classes, or the reason why there are none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// The image was classified.
    Classified(Classified),
    /// The image could not be classified.
    Failed(Failed),
}

impl Outcome {
    /// Path of the image.
    pub fn path(&self) -> &Path {
        match self {
            Self::Classified(Classified { path, .. }) | Self::Failed(Failed { path, .. }) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialises_as_the_contract_says() {
        let prediction = Prediction { index: 1, label: "cat".into(), probability: 0.5, selected: None };
        let outcome = Outcome::Classified(Classified {
            path: "a.png".into(),
            predictions: vec![prediction],
            activation: Activation::Softmax,
            assumed: None,
            provider: "CPUExecutionProvider",
            timings_ms: Timings { decode: 1.0, preprocess: 2.0, inference: 3.0 },
        });
        insta::assert_snapshot!(serde_json::to_string(&outcome).unwrap(), @r#"{"path":"a.png","predictions":[{"index":1,"label":"cat","probability":0.5}],"activation":"softmax","provider":"CPUExecutionProvider","timings_ms":{"decode":1.0,"preprocess":2.0,"inference":3.0}}"#);
        let error = Error::from(crate::DecodeError::Empty).at("b.png");
        let outcome = Outcome::Failed(Failed { path: "b.png".into(), error });
        insta::assert_snapshot!(serde_json::to_string(&outcome).unwrap(), @r#"{"path":"b.png","error":{"kind":"decode","message":"the file is empty"}}"#);
    }
}
