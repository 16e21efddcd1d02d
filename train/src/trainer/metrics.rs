//! Metrics of epochs and progress within an epoch.

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Metrics of an epoch: a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// Learning rate of each group at the epoch's last step.
    pub learning_rates: IndexMap<String, f64>,
    /// Mean loss over the training images, in training mode.
    pub train_loss: f64,
    /// Training accuracy, in [0, 1], in training mode; under mixup and cutmix, of the image with the larger share.
    ///
    /// Accuracies of a multi-label task are shares of right decisions among all images and classes, at 0.5.
    pub train_accuracy: f64,
    /// Mean cross-entropy over the validation images, without class weights, focusing and smoothing.
    pub validation_loss: f64,
    /// Validation accuracy, in [0, 1].
    pub validation_accuracy: f64,
    /// Mean F1 of the classes on the validation images, each class with the same weight; absent in older runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_macro_f1: Option<f64>,
    /// Mean average precision on the validation images (mAP), of a multi-label task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_map: Option<f64>,
    /// Training images per second, validation excluded.
    pub images_per_second: f64,
    /// Duration of the epoch, validation included.
    pub seconds: f64,
}

impl EpochMetrics {
    /// Numbers of the epoch by name, for tools that draw them: TensorBoard and MLflow.
    pub fn scalars(&self) -> Vec<(String, f64)> {
        let own = [
            ("loss/train", Some(self.train_loss)),
            ("loss/validation", Some(self.validation_loss)),
            ("accuracy/train", Some(self.train_accuracy)),
            ("accuracy/validation", Some(self.validation_accuracy)),
            ("images_per_second", Some(self.images_per_second)),
            ("macro_f1/validation", self.validation_macro_f1),
            ("map/validation", self.validation_map),
        ];
        let rates = self.learning_rates.iter().map(|(group, rate)| (format!("learning_rate/{group}"), *rate));
        own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).chain(rates).collect()
    }

    /// Formats losses and accuracies, for people; a multi-label task has its mAP in place of the accuracy.
    pub fn scores(&self) -> String {
        let (train_loss, validation_loss) = (self.train_loss, self.validation_loss);
        let [train, validation] = [self.train_accuracy, self.validation_accuracy].map(|share| 100.0 * share);
        match self.validation_map {
            None => {
                format!("loss {train_loss:.4} acc {train:5.1} %  val {validation_loss:.4} {validation:5.1} %")
            }
            // Names take the place of padding, so that a line fits a narrow terminal.
            Some(map) => format!(
                "loss {train_loss:.4} label acc {train:.1} %  val {validation_loss:.4} mAP {:.1} %",
                100.0 * map
            ),
        }
    }

    /// Formats all but the epoch's number, for people.
    pub fn numbers(&self) -> String {
        format!("{}  {:.0} img/s {:.0} s", self.scores(), self.images_per_second, self.seconds)
    }
}

impl fmt::Display for EpochMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}  {}", self.epoch, self.numbers())
    }
}

/// Progress within an epoch.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Images trained on.
    pub images: usize,
    /// Mean loss so far.
    pub loss: f64,
    /// Accuracy so far, in [0, 1].
    pub accuracy: f64,
}

/// A complete epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// Metrics of the epoch.
    pub metrics: EpochMetrics,
    /// True if the epoch's weights are the best so far.
    pub improved: bool,
    /// Epoch with the best weights so far, counted from 1.
    pub best_epoch: usize,
    /// Number of training images that were left out because they cannot be decoded.
    pub skipped: usize,
    /// Share of the training time that was spent waiting for images, in [0, 1], where they are decoded in every epoch.
    pub waiting: Option<f64>,
    /// True if the phase ended early, for lack of progress.
    pub stopped_early: bool,
}
