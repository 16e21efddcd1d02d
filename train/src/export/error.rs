//! Errors of an export.

use std::io;
use std::path::PathBuf;

use ferronnx_models::card::PreprocessingError;
use ferronnx_models::onnx::TraceError;
use ferronnx_models::onnx::digest::DigestError;
use ferronnx_models::onnx::head::HeadError;
use ferronnx_models::onnx::passes::{EmbedError, HalfError, QuantizeError};
use ferronnx_models::parity::Parity;
use ferronnx_models::tolerance::Tolerance;
use image::ImageError;

use crate::error::{SettingError, TorchError};
use crate::temperature::TemperatureError;
use crate::trainer::TrainError;

/// Errors of an export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No ONNX graph can be written of the network with these weights.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The network does not end in what a further output needs.
    #[error("the network cannot give its features or feature maps")]
    Head(#[from] HeadError),
    /// Half precision cannot hold the weights.
    #[error(transparent)]
    Half(#[from] HalfError),
    /// Integers cannot hold the network.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The preprocessing cannot become part of the graph.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The weights have no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// int8 was asked for without folded batch norm, which would quantise convolutions wrongly.
    #[error("int8 needs batch norm folded into the convolutions")]
    Unfolded,
    /// Images cannot be prepared as the card says.
    #[error("the preprocessing of the card cannot be carried out")]
    Preprocessing(#[from] PreprocessingError),
    /// int8 was asked for without calibration images.
    #[error("int8 needs images to find the ranges of values on")]
    NoCalibration,
    /// A temperature was asked for without images whose classes are known.
    #[error("a temperature is fitted on validation images, and there are no images with known classes")]
    NoLabels,
    /// A multi-label model comes without a temperature.
    #[error(
        "several labels an image: the temperature is fitted at the end of a run, and there is none: the run was stopped, \
         its validation images allow none, or these are weights without their run"
    )]
    NoTemperature,
    /// A number of a run's files is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No temperature makes the probabilities match the validation images.
    #[error("the logits cannot be calibrated")]
    Temperature(#[from] TemperatureError),
    /// The weights are not this network's.
    #[error("these are not the weights of this network")]
    Weights(#[source] WeightsFault),
    /// The file does not give logits `[N, classes]`.
    #[error("the file's output is {0:?}, not [batch, classes]")]
    Output(Vec<usize>),
    /// libtorch failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// ONNX Runtime failed.
    #[error(transparent)]
    Infer(#[from] ferronnx_infer::Error),
    /// The images of the certificate cannot be encoded.
    #[error("cannot encode the certificate's images")]
    Encode(#[from] ImageError),
    /// The file cannot be written.
    #[error("cannot write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file does not compute what libtorch does.
    #[error(
        "the exported file does not agree with libtorch, and was not kept: largest relative difference {:.2e} (allowed \
         {:.0e}), root mean square {:.2e} (allowed {:.0e}), top-1 agreement {} of {} and {} ties{}",
        .found.max_relative_difference, .allowed.max, .found.rms_relative_difference, .allowed.rms, .found.agreeing,
        .found.images, .found.ties, changed(.allowed.changed)
    )]
    Disagrees {
        /// Comparison of the two.
        found: Parity,
        /// Differences allowed.
        allowed: Tolerance,
    },
    /// The certificate does not hold where it was made.
    #[error("the exported file does not keep its own certificate, and was not kept: {}", .0.join("; "))]
    Certificate(Vec<String>),
}

/// Differences between weights and the network that they are for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsFault {
    /// The card has another number of labels than the network has classes.
    #[error("{labels} labels for {classes} classes")]
    Labels {
        /// Labels of the card.
        labels: usize,
        /// Classes of the network.
        classes: usize,
    },
    /// The network has no parameter of this name.
    #[error("it has no {0}")]
    Unknown(String),
    /// The weights lack a parameter.
    #[error("{0} is missing")]
    Missing(String),
    /// A parameter has another shape.
    #[error("{name} is {found:?}, not {expected:?}")]
    Shape {
        /// Name of the parameter.
        name: String,
        /// Shape in the weights.
        found: Vec<usize>,
        /// Shape in the network.
        expected: Vec<usize>,
    },
}

impl From<TorchError> for ExportError {
    fn from(error: TorchError) -> Self {
        Self::Train(error.into())
    }
}

/// Part of a sentence about the share of images whose class may change; nothing where none may.
fn changed(share: f64) -> String {
    if share > 0.0 { format!(" (allowed {:.0} % of others)", 100.0 * share) } else { String::new() }
}
