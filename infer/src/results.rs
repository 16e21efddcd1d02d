//! What classifying gives, in the form it is reported.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::error::{Error, Result};

/// A class with its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Position of its logit.
    pub index: usize,
    /// Its name.
    pub label: String,
    /// In [0, 1].
    pub probability: f32,
}

/// Where the time of an image went, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Timings {
    /// Reading the file and decoding it.
    pub decode: f64,
    /// Resizing and cropping.
    pub preprocess: f64,
    /// The network: the time of the batch divided by its images.
    pub inference: f64,
}

/// An image with its most likely classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classified {
    /// Where it came from.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Most likely first.
    pub predictions: Vec<Prediction>,
    /// What executed the network.
    pub provider: &'static str,
    /// In milliseconds.
    pub timings_ms: Timings,
}

/// An image that could not be classified.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// Where it came from.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Why; serialises as `{"kind", "message"}`.
    pub error: Error,
}

/// What became of an image.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Its classes.
    Classified(Classified),
    /// The reason why there are none.
    Failed(Failed),
}

impl Outcome {
    /// Where the image came from.
    pub fn path(&self) -> &Path {
        match self {
            Self::Classified(Classified { path, .. }) | Self::Failed(Failed { path, .. }) => path,
        }
    }
}

/// Paths need not be UTF-8, JSON must.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// The `top` most likely of `labels` given their logits, most likely first; equal ones in their own order.
///
/// # Errors
/// [`Error::Session`] when a logit is infinite or not a number.
pub(crate) fn top_classes(logits: &[f32], labels: &[String], top: usize) -> Result<Vec<Prediction>> {
    if let Some(value) = logits.iter().find(|logit| !logit.is_finite()) {
        return Err(Error::Session(format!(
            "the network's output holds {value}: the weights or the input are bad"
        )));
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

/// In f64, and relative to the largest logit, so that nothing overflows.
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

    fn classes(logits: &[f32], top: usize) -> Result<Vec<(usize, f32)>> {
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
            assert_eq!(classes(&[0.0, bad], 1).unwrap_err().kind(), "session");
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
        let error = Error::Decode { path: Some("b.png".into()), reason: "the file is empty".into() };
        let outcome = Outcome::Failed(Failed { path: "b.png".into(), error });
        insta::assert_snapshot!(serde_json::to_string(&outcome).unwrap(), @r#"{"path":"b.png","error":{"kind":"decode","message":"the file is empty"}}"#);
    }
}
