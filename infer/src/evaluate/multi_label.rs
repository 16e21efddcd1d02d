//! Evaluation of a model whose classes do not exclude each other.

use ferronnx_report::multi_label::{LabelScores, MultiLabel};

use super::classify;
use crate::classifier::Classifier;
use crate::data_set::Sample;
use crate::error::Result;
use crate::results::{Classified, Failed, Outcome};

/// Scores of a multi-label classifier for labelled images.
#[derive(Debug, Default)]
pub struct MultiLabelEvaluation {
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Scores and truth of each image that was classified.
    pub images: Vec<LabelScores>,
    /// Images that could not be classified.
    pub failed: Vec<Failed>,
}

impl MultiLabelEvaluation {
    /// Classifies `samples` and calls `see` for each, in order.
    ///
    /// # Errors
    /// [`Session`](crate::ErrorKind::Session) when the network cannot be run. An image that cannot be decoded is one of
    /// [`failed`](Self::failed).
    pub fn run(classifier: &Classifier, samples: &[Sample], see: impl FnMut(&Outcome)) -> Result<Self> {
        let mut evaluation = Self { labels: classifier.card().labels.clone(), ..Self::default() };
        let paths = samples.iter().map(|sample| &sample.path);
        evaluation.failed = classify(classifier, paths, see, |index, classified, probabilities| {
            evaluation.add(&samples[index], &classified, probabilities);
        })?;
        Ok(evaluation)
    }

    pub(super) fn add(&mut self, sample: &Sample, classified: &Classified, probabilities: &[f64]) {
        let classes = self.labels.len();
        let mut scores = LabelScores {
            probabilities: probabilities.iter().map(|&probability| probability as f32).collect(),
            selected: vec![false; classes],
            actual: vec![false; classes],
        };
        for prediction in &classified.predictions {
            scores.selected[prediction.index] = prediction.selected == Some(true);
        }
        sample.labels.iter().for_each(|&label| scores.actual[label] = true);
        self.images.push(scores);
    }

    /// Metrics of the scores.
    pub fn metrics(&self) -> MultiLabel {
        MultiLabel::new(self.labels.len(), &self.images)
    }
}
