//! Evaluation: accuracy of a classifier on labelled images.

mod items;
mod multi_label;

use std::path::PathBuf;

pub use items::{ItemsError, LabelledPlaces};
pub use multi_label::MultiLabelEvaluation;

use crate::classifier::Classifier;
use crate::data_set::Sample;
use crate::error::{ErrorKind, Result};
use crate::results::{Classified, Failed, Outcome};
use ferronnx_report::calibration::Calibration;
use ferronnx_report::interval::Interval;
use ferronnx_report::metrics::{Answer, Confusion};
use ferronnx_report::scored::Scored;

/// Number of classes that [`Evaluation::top_accuracy`] looks at.
pub const TOP: usize = 5;

/// Predictions of a classifier for labelled images.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Images that were classified.
    pub paths: Vec<PathBuf>,
    /// Prediction for each of them.
    pub answers: Vec<Answer>,
    /// Probabilities of all classes for each of them.
    pub scored: Scored,
    /// Number of images whose true class was among the [`TOP`] most likely.
    pub found: usize,
    /// Images that could not be classified.
    pub failed: Vec<Failed>,
}

/// Classifies the files at `paths` in order, calls `see` for each, gives those that were classified to `add` with their
/// place and the probabilities of all classes, and returns the others.
///
/// # Errors
/// [`Session`](ErrorKind::Session) when the network cannot be run.
fn classify<'a>(
    classifier: &Classifier,
    paths: impl Iterator<Item = &'a PathBuf>,
    mut see: impl FnMut(&Outcome),
    mut add: impl FnMut(usize, Classified, &[f64]),
) -> Result<Vec<Failed>> {
    let mut failures = Vec::new();
    for (index, (outcome, probabilities)) in classifier.score_files(paths.cloned()).enumerate() {
        see(&outcome);
        match outcome {
            Outcome::Classified(classified) => add(index, classified, &probabilities),
            Outcome::Failed(Failed { error, .. }) if matches!(error.kind(), ErrorKind::Session(_)) => {
                return Err(error);
            }
            Outcome::Failed(failed) => failures.push(failed),
        }
    }
    Ok(failures)
}

impl Evaluation {
    /// Classifies `samples` and calls `see` for each, in order; the classifier has to return at least [`TOP`] classes.
    ///
    /// # Errors
    /// [`Session`](ErrorKind::Session) when the network cannot be run. An image that cannot be decoded is one of
    /// [`failed`](Self::failed).
    pub fn run(classifier: &Classifier, samples: &[Sample], see: impl FnMut(&Outcome)) -> Result<Self> {
        let labels = classifier.card().labels.clone();
        let mut evaluation = Self { scored: Scored::new(labels.len()), labels, ..Self::default() };
        let paths = samples.iter().map(|sample| &sample.path);
        evaluation.failed = classify(classifier, paths, see, |index, classified, probabilities| {
            evaluation.add(&samples[index], classified, probabilities);
        })?;
        Ok(evaluation)
    }

    fn add(&mut self, sample: &Sample, classified: Classified, probabilities: &[f64]) {
        let Classified { path, predictions, .. } = classified;
        let Some(best) = predictions.first() else { return };
        self.found +=
            usize::from(predictions.iter().take(TOP).any(|prediction| prediction.index == sample.label()));
        let (predicted, probability) = (best.index, best.probability);
        self.answers.push(Answer { actual: sample.label(), predicted, probability });
        self.scored.add(probabilities, sample.label());
        self.paths.push(path);
    }

    /// Confusion matrix of the predictions.
    pub fn confusion(&self) -> Confusion {
        Confusion::new(self.labels.len(), &self.answers)
    }

    /// Top-5 accuracy: share of images whose true class was among the [`TOP`] most likely, in [0, 1].
    pub fn top_accuracy(&self) -> f64 {
        self.found as f64 / self.answers.len().max(1) as f64
    }

    /// Confidence interval of the accuracy; `None` without images.
    pub fn accuracy_interval(&self) -> Option<Interval> {
        let correct = self.answers.iter().filter(|answer| answer.is_correct()).count();
        Interval::wilson(correct, self.answers.len())
    }

    /// Confidence interval of the top-5 accuracy; `None` without images.
    pub fn top_interval(&self) -> Option<Interval> {
        Interval::wilson(self.found, self.answers.len())
    }

    /// Calibration of the probabilities.
    pub fn calibration(&self) -> Calibration {
        Calibration::new(&self.answers)
    }
}
