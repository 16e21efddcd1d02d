//! Temperature scaling that is part of the exported logits.

use serde::{Deserialize, Serialize};

/// Temperature that exported logits were divided by, with the calibration errors before and after it (Guo et al. 2017,
/// <https://arxiv.org/abs/1706.04599>).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemperatureScaling {
    /// Divisor of the logits; above 1 it makes probabilities less extreme.
    pub temperature: f32,
    /// Errors on the validation images that the temperature was fitted on.
    pub validation: CalibrationErrors,
    /// Errors on the test images, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<CalibrationErrors>,
}

/// Expected calibration errors on a set of images, each in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationErrors {
    /// Number of images.
    pub images: usize,
    /// Error of the network's own probabilities.
    pub before: f64,
    /// Error of the probabilities after division of the logits by the temperature.
    pub after: f64,
}
