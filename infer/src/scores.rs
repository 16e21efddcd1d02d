//! Scores of classes, and the predictions that they give.

use ferronnx_models::card::{Activation, ModelCard, Threshold};
use ferronnx_report::activation::{sigmoid, softmax};
use ndarray::ArrayD;

use crate::results::Prediction;
use crate::session::{Session, SessionError};

/// Meaning of the output that has the scores of the classes.
#[derive(Debug, Clone)]
pub(crate) struct Scores {
    /// Name of the output.
    pub(crate) output: String,
    activation: Activation,
    /// Thresholds, of a model with several labels an image.
    threshold: Option<Threshold>,
    labels: Vec<String>,
}

impl Scores {
    /// Reads the meaning from the card of the model; `threshold` replaces the card's.
    pub(crate) fn new(card: &ModelCard, session: &Session, threshold: Option<f32>) -> Self {
        let output = card.scores().unwrap_or(&session.outputs()[0].name).to_owned();
        let is_single = session
            .outputs()
            .iter()
            .any(|info| info.name == output && crate::assume::values_per_image(info) == Some(1));
        let own = || threshold.map(Threshold::All).or_else(|| card.threshold.clone()).unwrap_or_default();
        let threshold = (card.is_multi_label() && !is_single).then(own);
        Self { output, activation: card.activation, threshold, labels: card.labels.clone() }
    }

    /// Step from the scores to probabilities.
    pub(crate) fn activation(&self) -> Activation {
        self.activation
    }

    /// Thresholds from which classes are selected, of a model with several labels an image.
    #[cfg(feature = "serve")]
    pub(crate) fn threshold(&self) -> Option<&Threshold> {
        self.threshold.as_ref()
    }

    /// Tells whether any number of classes is right for an image, not exactly one.
    pub(crate) fn is_multi_label(&self) -> bool {
        self.threshold.is_some()
    }

    /// Splits the output for `images` images into the scores of each.
    pub(crate) fn rows(&self, output: &ArrayD<f32>, images: usize) -> Result<Vec<Vec<f32>>, SessionError> {
        let classes = self.labels.len();
        let suits = |rows: &Vec<Vec<f32>>| {
            rows.iter().all(|row| row.len() == classes || row.len() == 1 && classes == 2)
        };
        rows(output, images).filter(suits).ok_or_else(|| {
            let (output, shape) = (self.output.clone(), output.shape().to_vec());
            SessionError::Scores { output, shape, images, classes }
        })
    }

    /// Returns the `top` most likely classes for one row of scores, most likely first; ties keep the order of the classes.
    ///
    /// All selected classes of a model with several labels an image are returned, if they are more.
    ///
    /// # Errors
    /// [`SessionError::NotFinite`] when a score is infinite or NaN.
    pub(crate) fn predictions(&self, scores: &[f32], top: usize) -> Result<Vec<Prediction>, SessionError> {
        Ok(self.ranked(scores, &self.probabilities(scores)?, top))
    }

    /// Returns the `top` most likely classes for one row of scores, as [`predictions`](Self::predictions), given their
    /// `probabilities`.
    pub(crate) fn ranked(&self, scores: &[f32], probabilities: &[f64], top: usize) -> Vec<Prediction> {
        let selected = |index: usize| {
            self.threshold.as_ref().map(|threshold| probabilities[index] as f32 >= threshold.of(index))
        };
        let prediction = |index: usize| Prediction {
            index,
            label: self.labels[index].clone(),
            probability: probabilities[index] as f32,
            selected: selected(index),
        };
        // Logits order classes whose probabilities round to the same.
        let rank: Vec<f64> = match scores.len() == probabilities.len() {
            true => scores.iter().map(|&score| f64::from(score)).collect(),
            false => probabilities.to_vec(),
        };
        let mut order: Vec<usize> = (0..rank.len()).collect();
        order.sort_by(|&a, &b| rank[b].total_cmp(&rank[a]));
        // With a threshold for each class, one that is not selected can come before one that is.
        let last = order.iter().rposition(|&index| selected(index) == Some(true));
        let count = top.max(last.map_or(0, |last| last + 1));
        order.into_iter().take(count).map(prediction).collect()
    }

    /// Computes the probability of each class from one row of scores, in f64.
    ///
    /// # Errors
    /// [`SessionError::NotFinite`] when a score is infinite or NaN.
    pub(crate) fn probabilities(&self, scores: &[f32]) -> Result<Vec<f64>, SessionError> {
        if let Some(&value) = scores.iter().find(|score| !score.is_finite()) {
            return Err(SessionError::NotFinite { value });
        }
        let found: Vec<f64> = match self.activation {
            Activation::Softmax if scores.len() > 1 => softmax(scores, 1.0),
            Activation::Softmax | Activation::Sigmoid => {
                scores.iter().map(|&score| sigmoid(score.into())).collect()
            }
            Activation::None => scores.iter().map(|&score| f64::from(score)).collect(),
        };
        Ok(match found[..] {
            [second] => vec![1.0 - second, second],
            _ => found,
        })
    }
}

/// Splits an output, `[N, ...]`, into the values of each of `images` images, if it has as many.
pub(crate) fn rows(output: &ArrayD<f32>, images: usize) -> Option<Vec<Vec<f32>>> {
    let is_batch = output.shape().first() == Some(&images);
    is_batch.then(|| output.outer_iter().map(|row| row.iter().copied().collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(activation: Activation, threshold: Option<Threshold>, classes: usize) -> Scores {
        let labels = (0..classes).map(|index| index.to_string()).collect();
        Scores { output: "y".into(), activation, threshold, labels }
    }

    fn classes(logits: &[f32], top: usize) -> Result<Vec<(usize, f32)>, SessionError> {
        let predictions = scores(Activation::Softmax, None, logits.len()).predictions(logits, top)?;
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
    fn one_score_is_two_classes() {
        let found = scores(Activation::Sigmoid, None, 2).predictions(&[-2.0], 5).unwrap();
        let found: Vec<_> = found.into_iter().map(|one| (one.index, one.probability, one.selected)).collect();
        assert_eq!(found, [(0, 0.880_797_1, None), (1, 0.119_202_92, None)]);
        let found = scores(Activation::None, None, 2).predictions(&[0.75], 1).unwrap();
        assert_eq!((found[0].index, found[0].probability), (1, 0.75));
    }

    #[test]
    fn all_selected_classes_are_shown() {
        let threshold = Some(Threshold::Each(vec![0.5, 0.2, 0.9, 0.1]));
        let found = scores(Activation::None, threshold, 4).predictions(&[0.6, 0.3, 0.8, 0.05], 1).unwrap();
        let found: Vec<_> = found.into_iter().map(|one| (one.index, one.selected)).collect();
        assert_eq!(found, [(2, Some(false)), (0, Some(true)), (1, Some(true))]);
    }

    #[test]
    fn an_output_is_split_into_images() {
        let output = |shape: &[usize]| ArrayD::from_elem(shape, 0.5);
        let three = scores(Activation::None, None, 3);
        assert_eq!(three.rows(&output(&[2, 3, 1, 1]), 2).unwrap().len(), 2);
        assert!(matches!(three.rows(&output(&[2, 4]), 2), Err(SessionError::Scores { .. })));
        assert!(matches!(three.rows(&output(&[3, 2]), 2), Err(SessionError::Scores { .. })));
        assert_eq!(scores(Activation::None, None, 2).rows(&output(&[2]), 2).unwrap(), [[0.5], [0.5]]);
    }
}
