//! Reasons why a model file cannot be used.

use ferronnx_models::card::{CARD_KEY, CardError, PreprocessingError, Size};
use ferronnx_models::certificate::{CERTIFICATE_KEY, CertificateError};
use ferronnx_models::onnx::digest::DigestError;
use ferronnx_models::onnx::head::HeadError;

use crate::assume::{InterfaceError, NormalizationError, Unusable};
use crate::error::{Error, OrtError};

/// Reason why a model file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The path is a folder.
    #[error("is a folder, not an ONNX model")]
    Folder,
    /// The path is a device or a pipe, which may never end.
    #[error("is not a regular file")]
    NotAFile,
    /// The bytes are not an ONNX file.
    #[error("not an ONNX model (is it complete? {bytes} bytes)")]
    NotOnnx {
        /// Size of the file.
        bytes: u64,
    },
    /// ONNX Runtime cannot build a session of the model.
    #[error("ONNX Runtime refuses the model")]
    Refused(#[source] OrtError),
    /// The model has no input, or several.
    #[error("needs {} inputs ({}), one is supported", names.len(), names.join(", "))]
    Inputs {
        /// Names of the inputs.
        names: Vec<String>,
    },
    /// The input is not a tensor of floats or bytes.
    #[error("the input `{name}` is {kind}, a tensor of floats or bytes is supported")]
    InputType {
        /// Name of the input.
        name: String,
        /// Type of the input.
        kind: String,
    },
    /// No output is a tensor of floats.
    #[error("gives no tensor of floats: {}", outputs.join(", "))]
    OutputType {
        /// Name and type of each output.
        outputs: Vec<String>,
    },
    /// A dimension of the input, other than the batch, has no fixed size.
    #[error("the size `{dimension}` of input `{input}` is not known")]
    UnknownSize {
        /// Name of the input.
        input: String,
        /// Name of the dimension.
        dimension: String,
    },
    /// The model has no card, which a file of this project carries.
    #[error(
        "has no model card (`{CARD_KEY}`), so its labels and preprocessing are unknown: `train export` writes one"
    )]
    NoCard,
    /// The card cannot be used.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The model has a card, and assumptions were given too.
    #[error("has a model card, so that nothing needs to be assumed of it")]
    Assumed,
    /// The model has no card, and what it or a file beside it states cannot be used.
    #[error("has no model card, and a statement about it cannot be used")]
    Unusable(#[from] Unusable),
    /// The model has no card and names no classes.
    #[error("has neither a model card (`{CARD_KEY}`) nor `names`, so that its classes are unknown")]
    NoLabels,
    /// The model has no card, and images cannot be prepared for its input.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The model has no card, and the normalisation of its input is not known.
    #[error(transparent)]
    Normalization(#[from] NormalizationError),
    /// The assumptions about a model without a card cannot be carried out.
    #[error("cannot prepare images")]
    Preprocessing(#[source] PreprocessingError),
    /// The assumptions about a model without a card contradict each other.
    #[error("the assumptions contradict each other")]
    Assumptions(#[source] CardError),
    /// The graph does not show what the values of the output are.
    #[error("gives `{output}`, whose values may be logits or probabilities: {reason}")]
    Meaning {
        /// Name of the output.
        output: String,
        /// Reason why its meaning is not known.
        reason: String,
    },
    /// A threshold was given, and exactly one class of the model is right.
    #[error("has classes that exclude each other, so that a threshold has no place")]
    Threshold,
    /// The card prepares other inputs than the network takes.
    #[error("takes {takes}, but images are prepared as {prepared}")]
    InputMismatch {
        /// Input of the network.
        takes: String,
        /// Input that the card describes.
        prepared: String,
    },
    /// The card has more or fewer labels than the network has outputs.
    #[error("gives {gives}, but there are {labels} labels")]
    LabelMismatch {
        /// Shape of the first output.
        gives: String,
        /// Number of labels.
        labels: usize,
    },
    /// The card names an output that the model does not have.
    #[error("has no float output `{output}`, which its card names for the scores")]
    NoScores {
        /// Name of the output.
        output: String,
    },
    /// The model has no attention masks among its outputs.
    #[error("gives no attention masks")]
    NoMasks,
    /// The model has no feature maps among its outputs, or they do not give its scores.
    #[error("gives no feature maps, so that it has no class activation maps")]
    NoFeatureMaps,
    /// The model has no features among its outputs, and none can be added.
    #[error("gives no features of images")]
    NoFeatures(#[source] HeadError),
    /// The model has no certificate.
    #[error("has no certificate (`{CERTIFICATE_KEY}`): `train export` writes one")]
    NoCertificate,
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate contradicts itself.
    #[error("the certificate is damaged")]
    Golden(#[from] GoldenError),
    /// The weights cannot be read.
    #[error("the weights cannot be read")]
    Weights(#[from] DigestError),
}

/// Reason why the golden images of a certificate cannot be recomputed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// The certificate has no golden images.
    #[error("it holds no images")]
    Missing,
    /// An image cannot be decoded.
    #[error("an image cannot be decoded")]
    Image(#[source] Box<Error>),
    /// A prepared image has another size than the network's input.
    #[error("an image of {height}x{width} for an input of {size}")]
    Size {
        /// Width of the image, in pixels.
        width: u32,
        /// Height of the image, in pixels.
        height: u32,
        /// Height and width of the input.
        size: Size,
    },
    /// The logits are not one value for each image and class.
    #[error("its logits do not have the shape {expected:?}")]
    Logits {
        /// Shape `[images, classes]` of the recomputed logits.
        expected: [usize; 2],
    },
    /// The recomputed output is not a matrix.
    #[error("the network gives {shape:?} for its images, not [images, classes]")]
    Output {
        /// Shape of the output.
        shape: Vec<usize>,
    },
}
