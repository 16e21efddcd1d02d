//! Errors of running a model.

use crate::error::OrtError;

/// Reason why a pass failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The input has another type or shape than the model takes.
    #[error("input `{name}` takes {takes}, not {given}")]
    Input {
        /// Name of the input.
        name: String,
        /// Type and shape that the model takes.
        takes: String,
        /// Type and shape of the input given.
        given: String,
    },
    /// The model has no float output of this name.
    #[error("the model has no float output `{0}`")]
    NoOutput(String),
    /// The output does not have scores for each image and class.
    #[error("output `{output}` is {shape:?} for {images} images of {classes} classes")]
    Scores {
        /// Name of the output.
        output: String,
        /// Shape of the output.
        shape: Vec<usize>,
        /// Number of images in the pass.
        images: usize,
        /// Number of labels.
        classes: usize,
    },
    /// The output holds an infinity or NaN.
    #[error("the network's output holds {value}: the weights or the input are bad")]
    NotFinite {
        /// First such value.
        value: f32,
    },
    /// An observed output holds an infinity or NaN, or has another shape than `[N, C, H, W]`.
    #[error("the output `{0}` is not a finite [N, C, H, W] tensor: the weights or the input are bad")]
    Mask(String),
    /// ONNX Runtime reports a failure.
    #[error("ONNX Runtime failed")]
    Runtime(#[source] OrtError),
}

impl From<ort::Error> for SessionError {
    fn from(error: ort::Error) -> Self {
        Self::Runtime(error.into())
    }
}
