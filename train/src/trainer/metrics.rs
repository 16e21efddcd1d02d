//! The numbers of training.

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// What an epoch came to: a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// Learning rate of each group at the epoch's last step.
    pub learning_rates: IndexMap<String, f64>,
    /// Mean loss over the training images, in training mode.
    pub train_loss: f64,
    /// In [0, 1], in training mode; under mixup and cutmix, of the image that has the larger share.
    pub train_accuracy: f64,
    /// Mean cross-entropy over the validation images.
    pub validation_loss: f64,
    /// In [0, 1].
    pub validation_accuracy: f64,
    /// Training images per second, validation excluded.
    pub images_per_second: f64,
    /// The whole epoch, validation included.
    pub seconds: f64,
}

impl EpochMetrics {
    /// All but the epoch's number, for people.
    pub fn numbers(&self) -> String {
        format!(
            "loss {:.4} acc {:5.1} %  val {:.4} {:5.1} %  {:.0} img/s {:.0} s",
            self.train_loss,
            100.0 * self.train_accuracy,
            self.validation_loss,
            100.0 * self.validation_accuracy,
            self.images_per_second,
            self.seconds,
        )
    }
}

impl fmt::Display for EpochMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}  {}", self.epoch, self.numbers())
    }
}

/// Where an epoch stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Images done.
    pub images: usize,
    /// Mean loss so far.
    pub loss: f64,
    /// Accuracy so far, in [0, 1].
    pub accuracy: f64,
}

/// A complete epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// Its numbers.
    pub metrics: EpochMetrics,
    /// Whether its weights are the best so far.
    pub improved: bool,
    /// Training images left out because they cannot be decoded.
    pub skipped: usize,
    /// Whether the phase ended early, for lack of progress.
    pub stopped_early: bool,
}
