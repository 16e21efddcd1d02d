//! What a model is worth on images whose classes are known.

use std::path::{Path, PathBuf};

use crate::classifier::Classifier;
use crate::error::Result;
use crate::image_folder::{self, FolderError, Sample};
use crate::results::{Classified, Failed, Outcome};
use ferronnx_report::metrics::{Answer, Calibration, Confusion};

/// Classes among which the true one counts as found in the top-5 accuracy.
pub const TOP: usize = 5;

/// A model's answers to images whose classes are known.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Names of the classes.
    pub labels: Vec<String>,
    /// The images that were classified.
    pub paths: Vec<PathBuf>,
    /// What was said of each of them.
    pub answers: Vec<Answer>,
    /// For how many of them the true class was among the [`TOP`] most likely.
    pub found: usize,
    /// The images that could not be classified.
    pub failed: Vec<Failed>,
}

/// The labelled images of a data set: `dir/test` or `dir/val` if there is one, else `dir`, a folder a class.
///
/// # Errors
/// [`FolderError`], also for a class that is not among `labels`.
pub fn images(dir: &Path, labels: &[String]) -> std::result::Result<Vec<Sample>, FolderError> {
    image_folder::scan(&image_folder::held_out(dir).unwrap_or_else(|| dir.into()), labels)
}

impl Evaluation {
    /// Classifies `samples`; `see` is told of each, in their order.
    ///
    /// The classifier has to give at least [`TOP`] classes.
    ///
    /// # Errors
    /// [`Error::Session`](crate::Error::Session) when the network cannot be run. An image that cannot be decoded is
    /// among [`failed`](Self::failed).
    pub fn run(classifier: &Classifier, samples: &[Sample], mut see: impl FnMut(&Outcome)) -> Result<Self> {
        let mut evaluation = Self { labels: classifier.card().labels.clone(), ..Self::default() };
        let paths = samples.iter().map(|sample| sample.path.clone());
        for (outcome, sample) in classifier.classify_files(paths).zip(samples) {
            see(&outcome);
            match outcome {
                Outcome::Classified(classified) => evaluation.add(sample, classified),
                Outcome::Failed(Failed { error: error @ crate::Error::Session(_), .. }) => return Err(error),
                Outcome::Failed(failed) => evaluation.failed.push(failed),
            }
        }
        Ok(evaluation)
    }

    fn add(&mut self, sample: &Sample, Classified { path, predictions, .. }: Classified) {
        let Some(best) = predictions.first() else { return };
        self.found +=
            usize::from(predictions.iter().take(TOP).any(|prediction| prediction.index == sample.label));
        let (predicted, probability) = (best.index, best.probability);
        self.answers.push(Answer { actual: sample.label, predicted, probability });
        self.paths.push(path);
    }

    /// How often each class was taken for each.
    pub fn confusion(&self) -> Confusion {
        Confusion::new(self.labels.len(), &self.answers)
    }

    /// Share of the images whose class was among the [`TOP`] most likely, in [0, 1].
    pub fn top_accuracy(&self) -> f64 {
        self.found as f64 / self.answers.len().max(1) as f64
    }

    /// How far the probabilities are to be believed.
    pub fn calibration(&self) -> Calibration {
        Calibration::new(&self.answers)
    }
}
