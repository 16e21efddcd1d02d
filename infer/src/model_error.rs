//! Reasons why a model file cannot be used.

use ferronnx_models::card::{CARD_KEY, CardError};
use ferronnx_models::certificate::{CERTIFICATE_KEY, CertificateError};
use ferronnx_models::onnx::digest::DigestError;

use crate::error::{Error, OrtError};

/// Reason why a model file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The path is a folder.
    #[error("is a folder, not an ONNX model")]
    Folder,
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
    /// The input is not a tensor of 32-bit floats or bytes.
    #[error("the input `{name}` is {kind}, a tensor of floats or bytes is supported")]
    InputType {
        /// Name of the input.
        name: String,
        /// Type of the input.
        kind: String,
    },
    /// The first output is not a tensor of 32-bit floats.
    #[error("the first output is not a float tensor")]
    OutputType,
    /// The input is not a batch of images.
    #[error("takes {shape}, not images")]
    NotImages {
        /// Shape of the input.
        shape: String,
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
    /// The model has no card and names no classes.
    #[error("has neither a model card (`{CARD_KEY}`) nor `names`, so that its classes are unknown")]
    NoLabels,
    /// The model has no card and takes images of any size.
    #[error("has no model card, and takes images of any size ({shape})")]
    NoImageSize {
        /// Shape of the input.
        shape: String,
    },
    /// The model has no card, and mean and standard deviation of the normalisation are not given.
    #[error("has no model card, so that how its images are normalised is unknown")]
    NoNormalisation,
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
    /// The model has no attention masks among its outputs.
    #[error("gives no attention masks")]
    NoMasks,
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
    #[error("an image of {width}x{height} for an input of {size}x{size}")]
    Size {
        /// Width of the image, in pixels.
        width: u32,
        /// Height of the image, in pixels.
        height: u32,
        /// Height and width of the input, in pixels.
        size: u32,
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
