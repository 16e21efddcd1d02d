//! Choice of the best epoch.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::SettingError;
use crate::task::Task;
use crate::trainer::EpochMetrics;

/// Metric of the validation images that chooses the best epoch, whose weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestBy {
    /// Highest accuracy.
    Accuracy,
    /// Highest mean F1 of the classes, each class with the same weight.
    MacroF1,
    /// Lowest loss.
    Loss,
    /// Highest mean average precision, of a multi-label task.
    Map,
}

impl BestBy {
    /// Metric that `chosen` names, or the default of the task: accuracy, or mAP for several labels an image.
    ///
    /// # Errors
    /// [`SettingError`] when the metric says nothing about the task.
    pub fn of(chosen: Option<Self>, task: Task) -> Result<Self, SettingError> {
        let refused = |expected, found: Self| Err(SettingError::new("best", expected, found));
        match (task, chosen) {
            (Task::SingleLabel, None) => Ok(Self::Accuracy),
            (Task::MultiLabel, None) => Ok(Self::Map),
            (Task::SingleLabel, Some(Self::Map)) => {
                refused("accuracy, macro-f1 or loss for one label an image", Self::Map)
            }
            // A network that selects nothing has a high accuracy where labels are rare.
            (Task::MultiLabel, Some(Self::Accuracy)) => {
                refused("map, macro-f1 or loss for several labels an image", Self::Accuracy)
            }
            (_, Some(chosen)) => Ok(chosen),
        }
    }

    /// Value of the metric, the higher the better.
    pub(crate) fn value(self, metrics: &EpochMetrics) -> f64 {
        match self {
            Self::Accuracy => metrics.validation_accuracy,
            Self::MacroF1 => metrics.validation_macro_f1.unwrap_or(0.0),
            Self::Loss => -metrics.validation_loss,
            Self::Map => metrics.validation_map.unwrap_or(0.0),
        }
    }
}

impl fmt::Display for BestBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro-f1",
            Self::Loss => "loss",
            Self::Map => "map",
        })
    }
}
