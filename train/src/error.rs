//! Errors that several modules share: of libtorch, and of settings out of range.

use std::fmt::Display;

pub use ferronnx_infer::error::chain;
use tch::TchError;

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} must be {expected}, not {found}")]
pub struct SettingError {
    setting: String,
    expected: String,
    found: String,
}

impl SettingError {
    pub(crate) fn new(setting: impl Display, expected: impl Display, found: impl Display) -> Self {
        Self { setting: setting.to_string(), expected: expected.to_string(), found: found.to_string() }
    }

    /// Checks that `value` is above 0 and finite.
    pub(crate) fn positive(value: f64, setting: &str) -> Result<(), Self> {
        match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Self::new(setting, "positive", value)),
        }
    }

    /// Checks that `value` is in [0, 1).
    pub(crate) fn fraction(value: f64, setting: &str) -> Result<(), Self> {
        match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(Self::new(setting, "at least 0 and below 1", value)),
        }
    }
}

/// An error message of libtorch, without the C++ backtrace.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TorchError(String);

impl TorchError {
    /// Keeps the first words of a C++ exception's message.
    pub(crate) fn new(message: &str) -> Self {
        Self(first_words(message).into())
    }
}

impl From<TchError> for TorchError {
    fn from(error: TchError) -> Self {
        Self::new(&error.to_string())
    }
}

/// Cuts a libtorch message before the C++ stack that follows it.
pub fn first_words(message: &str) -> &str {
    let end = ["\nException raised from", "\nDebug info", "\n\nAt:", " (most recent call first)"]
        .iter()
        .filter_map(|mark| message.find(mark))
        .min()
        .unwrap_or(message.len());
    message[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn no_stack_reaches_a_user() {
        let x = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let error = x.f_matmul(&x).unwrap_err();
        assert!(error.to_string().contains("Exception raised from"), "libtorch says where: {error}");
        let message = TorchError::from(error).to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains("2x3"), "{message}");
    }
}
