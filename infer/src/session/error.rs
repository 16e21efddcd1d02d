//! Errors of running a model.

use crate::device::DeviceError;
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
    /// The output does not have values for each image.
    #[error("output `{output}` is {shape:?} for {images} images, not a row for each")]
    Rows {
        /// Name of the output.
        output: String,
        /// Shape of the output.
        shape: Vec<usize>,
        /// Number of images in the pass.
        images: usize,
    },
    /// The output holds an infinity or NaN.
    #[error("the network's output holds {value}: the weights or the input are bad")]
    NotFinite {
        /// First such value.
        value: f32,
    },
    /// The features of an image are all 0, so that they have no direction.
    #[error("the features of the image are all 0, so that it is similar to nothing")]
    ZeroFeatures,
    /// An observed output holds an infinity or NaN, or has another shape than `[N, C, H, W]`.
    #[error("the output `{0}` is not a finite [N, C, H, W] tensor: the weights or the input are bad")]
    Mask(String),
    /// The device cannot run the pass.
    #[error(transparent)]
    Device(DeviceError),
    /// ONNX Runtime reports a failure.
    #[error("ONNX Runtime failed")]
    Runtime(#[source] OrtError),
}

impl From<ort::Error> for SessionError {
    fn from(error: ort::Error) -> Self {
        OrtError::from(error).into()
    }
}

impl From<OrtError> for SessionError {
    fn from(error: OrtError) -> Self {
        match DeviceError::recognise(error.message()) {
            Some(reason) => Self::Device(reason),
            None => Self::Runtime(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_without_memory_is_one_plain_sentence() {
        let message = "Non-zero status code returned while running Conv node. Name:'/conv1/Conv' Status Message: \
                       /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* \
                       onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, Stream*) Failed to allocate memory for \
                       requested buffer of size 4194304";
        let error = SessionError::from(OrtError(message.into()));
        assert_eq!(crate::error::chain(&error), "the memory is too small: another 4.2 MB were needed");
        assert!(matches!(SessionError::from(OrtError("another".into())), SessionError::Runtime(_)));
    }
}
