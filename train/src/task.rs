//! Tasks: exactly one class for each image, or any number of them.

use serde::{Deserialize, Serialize};

/// Number of classes that are right for an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Exactly one class is right: softmax and cross-entropy.
    #[default]
    SingleLabel,
    /// Any number of classes is right, none included: a sigmoid and a binary cross-entropy for each class.
    MultiLabel,
}

impl Task {
    /// True for [`Task::SingleLabel`].
    pub fn is_single_label(&self) -> bool {
        *self == Self::SingleLabel
    }

    /// True for [`Task::MultiLabel`].
    pub fn is_multi_label(&self) -> bool {
        *self == Self::MultiLabel
    }
}
