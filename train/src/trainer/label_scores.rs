//! Scores of a network on validation images, from its logits.

use ferronnx_report::metrics::{Answer, Confusion};
use ferronnx_report::multi_label::{LabelScores, MultiLabel};
use ferronnx_report::thresholds::DEFAULT_THRESHOLD;

use super::{Evaluation, Prediction};
use crate::data::batches::Loader;
use crate::data::images::ImageSet;
use crate::task::Task;

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
pub(super) struct ValidationScores {
    /// Mean F1 of the classes, each class with the same weight.
    pub(super) macro_f1: f64,
    /// Mean average precision, of a multi-label task.
    pub(super) mean_average_precision: Option<f64>,
}

impl ValidationScores {
    /// Computes the scores of an evaluation of `images`; labels of a multi-label task are selected from 0.5 on.
    pub(super) fn new(evaluation: &Evaluation, images: &Loader<'_>) -> Self {
        let classes = evaluation.logits.ncols();
        match images.task() {
            Task::SingleLabel => {
                let confusion = Confusion::new(classes, &answers(evaluation, images.set()));
                Self { macro_f1: confusion.macro_average().f1, mean_average_precision: None }
            }
            Task::MultiLabel => {
                let scores = label_scores(evaluation, images.set(), &vec![DEFAULT_THRESHOLD; classes]);
                let found = MultiLabel::new(classes, &scores);
                // Where no image has a label, all epochs are the same.
                let mean_average_precision = Some(found.mean_average_precision.unwrap_or_default());
                Self { macro_f1: found.macro_average.f1, mean_average_precision }
            }
        }
    }
}

/// Predictions for the images of `set`, which have one label each.
pub(crate) fn answers(evaluation: &Evaluation, set: &ImageSet) -> Vec<Answer> {
    let answer = |prediction: &Prediction| Answer {
        actual: set.label(prediction.index),
        predicted: prediction.class,
        probability: prediction.probability,
    };
    evaluation.predictions.iter().map(answer).collect()
}
