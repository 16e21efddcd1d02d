//! Errors of libtorch, in words for people.

use tch::TchError;

/// What libtorch said, without its C++ backtrace.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TorchError(String);

impl TorchError {
    /// From what a C++ exception says.
    pub(crate) fn new(message: &str) -> Self {
        Self(first_words(message).into())
    }
}

impl From<TchError> for TorchError {
    fn from(error: TchError) -> Self {
        Self::new(&error.to_string())
    }
}

/// The part of a libtorch message before the stack that it was raised from.
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
