//! Scores of a network on validation images, from its logits.

use ferronnx_report::metrics::{Answer, Confusion};
use ferronnx_report::multi_label::{LabelScores, MultiLabel};

use super::Evaluation;
use crate::data::batches::Loader;
use crate::data::images::ImageSet;
use crate::task::Task;

/// Threshold of a class before one is chosen on the validation images.
const DEFAULT_THRESHOLD: f32 = 0.5;

/// Probability of a class from its logit, as `infer` computes it.
pub(crate) fn sigmoid(logit: f32) -> f32 {
    ferronnx_report::activation::sigmoid(logit.into()) as f32
}

/// Makes the scores of a multi-label evaluation of `set`: a class is selected from its threshold on.
pub fn label_scores(evaluation: &Evaluation, set: &ImageSet, thresholds: &[f32]) -> Vec<LabelScores> {
    let images = evaluation.predictions.iter().map(|prediction| prediction.index);
    let score = |(index, logits): (usize, ndarray::ArrayView1<'_, f32>)| {
        let probabilities: Vec<f32> = logits.iter().map(|&logit| sigmoid(logit)).collect();
        let selected = probabilities.iter().zip(thresholds).map(|(p, threshold)| p >= threshold).collect();
        let mut actual = vec![false; probabilities.len()];
        set.labels(index).iter().for_each(|&label| actual[label] = true);
        LabelScores { probabilities, selected, actual }
    };
    images.zip(evaluation.logits.outer_iter()).map(score).collect()
}

/// Scores by which epochs are compared.
pub(super) enum ValidationScores {
    SingleLabel(Confusion),
    MultiLabel(MultiLabel),
}

impl ValidationScores {
    pub(super) fn new(evaluation: &Evaluation, images: &Loader<'_>) -> Self {
        let classes = evaluation.logits.ncols();
        match images.task() {
            Task::SingleLabel => {
                let answer = |prediction: &super::Prediction| Answer {
                    actual: images.set().label(prediction.index),
                    predicted: prediction.class,
                    probability: prediction.probability,
                };
                let answers: Vec<Answer> = evaluation.predictions.iter().map(answer).collect();
                Self::SingleLabel(Confusion::new(classes, &answers))
            }
            Task::MultiLabel => {
                let scores = label_scores(evaluation, images.set(), &vec![DEFAULT_THRESHOLD; classes]);
                Self::MultiLabel(MultiLabel::new(classes, &scores))
            }
        }
    }

    pub(super) fn macro_f1(&self) -> f64 {
        match self {
            Self::SingleLabel(confusion) => confusion.macro_average().f1,
            Self::MultiLabel(found) => found.macro_average.f1,
        }
    }

    pub(super) fn mean_average_precision(&self) -> Option<f64> {
        match self {
            Self::SingleLabel(_) => None,
            Self::MultiLabel(found) => Some(found.mean_average_precision),
        }
    }
}
