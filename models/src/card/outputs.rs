//! Outputs of a model, as a card describes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Step from the scores of a network to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Softmax over the classes: exactly one class is right.
    #[default]
    Softmax,
    /// Sigmoid of each score: any number of classes is right.
    Sigmoid,
    /// None: the scores are probabilities already.
    None,
}

impl Activation {
    /// All activations.
    pub const ALL: [Self; 3] = [Self::Softmax, Self::Sigmoid, Self::None];

    /// Name in JSON: `softmax`, `sigmoid` or `none`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that names no activation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected softmax, sigmoid or none")]
pub struct ParseActivationError;

impl FromStr for Activation {
    type Err = ParseActivationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or(ParseActivationError)
    }
}

/// Probability from which a class is selected: one for all classes, or one for each. In JSON a number or an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Threshold {
    /// The same for all classes.
    All(f32),
    /// One for each class, in the order of the labels.
    Each(Vec<f32>),
}

impl Default for Threshold {
    /// Returns 0.5, from which a class is more likely right than wrong.
    fn default() -> Self {
        Self::All(0.5)
    }
}

impl Threshold {
    /// Threshold of the class `index`.
    pub fn of(&self, index: usize) -> f32 {
        match self {
            Self::All(threshold) => *threshold,
            Self::Each(thresholds) => thresholds[index],
        }
    }

    /// Applies a function to every threshold.
    #[must_use]
    pub fn map(&self, of: impl Fn(f32) -> f32) -> Self {
        match self {
            Self::All(threshold) => Self::All(of(*threshold)),
            Self::Each(thresholds) => Self::Each(thresholds.iter().copied().map(of).collect()),
        }
    }

    /// Tells whether there is a probability for each of `classes` classes.
    pub(super) fn suits(&self, classes: usize) -> bool {
        let is_probability = |threshold: &f32| (0.0..=1.0).contains(threshold);
        match self {
            Self::All(threshold) => is_probability(threshold),
            Self::Each(thresholds) => thresholds.len() == classes && thresholds.iter().all(is_probability),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(threshold) => threshold.fmt(f),
            Self::Each(thresholds) => write!(f, "{thresholds:?}"),
        }
    }
}

/// Role of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputRole {
    /// Scores of the classes, `[N, classes]`: what the [activation](Activation) is applied to.
    Scores,
    /// Spatial attention masks, `[N, 1, h, w]`.
    Attention,
    /// Features of an image, `[N, features]`.
    Features,
    /// Feature maps for class activation maps, `[N, channels, h, w]`.
    FeatureMaps,
}
