//! Evaluation: accuracy of a classifier on labelled images.

mod multi_label;

use std::path::PathBuf;

pub use multi_label::MultiLabelEvaluation;

use crate::classifier::Classifier;
use crate::data_set::Sample;
use crate::error::{ErrorKind, Result};
use crate::results::{Classified, Failed, Outcome};
use ferronnx_report::metrics::{Answer, Calibration, Confusion};

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
    /// Number of images whose true class was among the [`TOP`] most likely.
    pub found: usize,
    /// Images that could not be classified.
    pub failed: Vec<Failed>,
}

/// Classifies the files at `paths` in order, calls `see` for each, gives those that were classified to `add` with their
/// place, and returns the others.
///
/// # Errors
/// [`Session`](ErrorKind::Session) when the network cannot be run.
fn classify<'a>(
    classifier: &Classifier,
    paths: impl Iterator<Item = &'a PathBuf>,
    mut see: impl FnMut(&Outcome),
    mut add: impl FnMut(usize, Classified),
) -> Result<Vec<Failed>> {
    let mut failures = Vec::new();
    for (index, outcome) in classifier.classify_files(paths.cloned()).enumerate() {
        see(&outcome);
        match outcome {
            Outcome::Classified(classified) => add(index, classified),
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
        let mut evaluation = Self { labels: classifier.card().labels.clone(), ..Self::default() };
        let paths = samples.iter().map(|sample| &sample.path);
        evaluation.failed = classify(classifier, paths, see, |index, classified| {
            evaluation.add(&samples[index], classified);
        })?;
        Ok(evaluation)
    }

    fn add(&mut self, sample: &Sample, Classified { path, predictions, .. }: Classified) {
        let Some(best) = predictions.first() else { return };
        self.found +=
            usize::from(predictions.iter().take(TOP).any(|prediction| prediction.index == sample.label()));
        let (predicted, probability) = (best.index, best.probability);
        self.answers.push(Answer { actual: sample.label(), predicted, probability });
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

    /// Calibration of the probabilities.
    pub fn calibration(&self) -> Calibration {
        Calibration::new(&self.answers)
    }
}
