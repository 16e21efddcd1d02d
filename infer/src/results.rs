//! Results of classification, in the form in which they are reported.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;
use crate::files::serialize_path;
use crate::session::SessionError;

/// Class with its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Index of the class: the position of its logit.
    pub index: usize,
    /// Name of the class.
    pub label: String,
    /// Probability of the class, in [0, 1].
    pub probability: f32,
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

/// Returns the `top` most likely classes for one row of logits, most likely first; ties keep the order of the classes.
///
/// # Errors
/// [`SessionError::NotFinite`] when a logit is infinite or NaN.
pub(crate) fn top_classes(
    logits: &[f32],
    labels: &[String],
    top: usize,
) -> Result<Vec<Prediction>, SessionError> {
    if let Some(&value) = logits.iter().find(|logit| !logit.is_finite()) {
        return Err(SessionError::NotFinite { value });
    }
    let probabilities = softmax(logits);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let prediction = |index: usize| Prediction {
        index,
        label: labels[index].clone(),
        probability: probabilities[index] as f32,
    };
    Ok(order.into_iter().take(top).map(prediction).collect())
}

/// Softmax in f64; the largest logit is subtracted first, so that nothing overflows.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> =
        logits.iter().map(|&logit| (f64::from(logit) - f64::from(largest)).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(logits: &[f32], top: usize) -> Result<Vec<(usize, f32)>, SessionError> {
        let labels: Vec<_> = (0..logits.len()).map(|index| index.to_string()).collect();
        let predictions = top_classes(logits, &labels, top)?;
        Ok(predictions.into_iter().map(|guess| (guess.index, guess.probability)).collect())
    }

    #[test]
    fn sorted_with_ties_in_order() {
        let order: Vec<_> = classes(&[1.0, 3.0, 1.0, 3.0], 3).unwrap().into_iter().map(|(i, _)| i).collect();
        assert_eq!(order, [1, 3, 0]);
        assert_eq!(classes(&[1.0, 2.0], 9).unwrap().len(), 2);
    }

    #[test]
    fn probabilities_survive_large_logits() {
        let both = classes(&[3e38, -3e38], 2).unwrap();
        assert_eq!(both, [(0, 1.0), (1, 0.0)]);
        let (_, half) = classes(&[1000.0, 1000.0], 1).unwrap()[0];
        assert_eq!(half, 0.5);
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(matches!(classes(&[0.0, bad], 1), Err(SessionError::NotFinite { .. })));
        }
    }

    #[test]
    fn serialises_as_the_contract_says() {
        let prediction = Prediction { index: 1, label: "cat".into(), probability: 0.5 };
        let outcome = Outcome::Classified(Classified {
            path: "a.png".into(),
            predictions: vec![prediction],
            provider: "CPUExecutionProvider",
            timings_ms: Timings { decode: 1.0, preprocess: 2.0, inference: 3.0 },
        });
        insta::assert_snapshot!(serde_json::to_string(&outcome).unwrap(), @r#"{"path":"a.png","predictions":[{"index":1,"label":"cat","probability":0.5}],"provider":"CPUExecutionProvider","timings_ms":{"decode":1.0,"preprocess":2.0,"inference":3.0}}"#);
        let error = Error::from(crate::DecodeError::Empty).at("b.png");
        let outcome = Outcome::Failed(Failed { path: "b.png".into(), error });
        insta::assert_snapshot!(serde_json::to_string(&outcome).unwrap(), @r#"{"path":"b.png","error":{"kind":"decode","message":"the file is empty"}}"#);
    }
}
