//! Errors of reading and writing checkpoints.

use std::io;
use std::path::PathBuf;

use ndarray::ShapeError;
use safetensors::{Dtype, SafeTensorError};
use zip::result::ZipError;

use super::tensor::MAX_DIMENSIONS;

/// Failure to read or write a checkpoint file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the system.
        source: io::Error,
    },
    /// The content is not a checkpoint.
    #[error("{path} is not a checkpoint")]
    Format {
        /// Path of the file.
        path: PathBuf,
        /// Reason.
        source: FormatError,
    },
    /// The file cannot be written.
    #[error("cannot save {path}")]
    Save {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the system.
        source: io::Error,
    },
    /// The weights cannot be encoded as safetensors.
    #[error("cannot save {path}")]
    Encode {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the encoder.
        source: SafeTensorError,
    },
}

/// Reason why bytes are not a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The format is unknown.
    #[error("it is neither a safetensors file nor one that torch.save writes")]
    Unknown,
    /// The file has the tar format of PyTorch's first releases.
    #[error(
        "it is a tar file of PyTorch's first releases: load it in PyTorch and save its state_dict again, with torch.save"
    )]
    Tar,
    /// The file is a TorchScript program.
    #[error("it is a TorchScript program: save the state_dict of the module instead, with torch.save")]
    TorchScript,
    /// The pickle names a Python function or class that weights do not need. It is not called.
    #[error(
        "it asks Python for {0}, which weights do not need (nothing was run): if you trust it, load it in PyTorch and \
         save its state_dict alone"
    )]
    Global(String),
    /// The pickle is damaged.
    #[error("its pickle is damaged at byte {at}: {why}")]
    Pickle {
        /// Position in the pickle, in bytes.
        at: usize,
        /// Reason.
        why: &'static str,
    },
    /// The zip archive cannot be read.
    #[error("its archive is damaged")]
    Archive(#[source] ZipError),
    /// A file in the zip archive cannot be read.
    #[error("it is damaged: cannot read {name}")]
    Entry {
        /// Name of the file.
        name: String,
        /// Reason, such as a wrong checksum.
        source: io::Error,
    },
    /// The safetensors header does not describe the file.
    #[error("it is damaged")]
    Safetensors(#[source] SafeTensorError),
    /// The parts of the file contradict each other.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// The file holds something else than a state dict.
    #[error("it holds no state_dict, neither alone nor under {known}; what it holds: {found}")]
    NoStateDict {
        /// Keys under which a state dict is looked for.
        known: String,
        /// Keys that the file has.
        found: String,
    },
    /// A tensor cannot be a weight.
    #[error("{name} {why}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// Reason.
        why: TensorError,
    },
}

/// Reason why a tensor cannot be a weight, to be read after its name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The name contains control characters.
    #[error("is no name of a tensor")]
    Name,
    /// Another tensor has the same name.
    #[error("is there twice")]
    Twice,
    /// The tensors have more values in total than the file has bytes.
    #[error("has more values than the file has room for")]
    TooLarge,
    /// The tensor has more dimensions than PyTorch allows.
    #[error("has {0} dimensions, more than {MAX_DIMENSIONS}")]
    Dimensions(usize),
    /// The values are not floats.
    #[error("is {0}: weights are F32, F16, BF16 or F64")]
    Type(Dtype),
    /// Shape and strides reach beyond the storage.
    #[error("does not lie inside its storage: {0}")]
    Layout(ShapeError),
}

impl FormatError {
    /// Quotes text of the file, safe for a terminal and not longer than a line.
    pub(super) fn quote(words: &str) -> String {
        const LONGEST: usize = 100;
        let mut quoted: String = words.escape_debug().take(LONGEST).collect();
        if words.len() > LONGEST {
            quoted.push('…');
        }
        quoted
    }
}
