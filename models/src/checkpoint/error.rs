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
    /// The file has the format of another program.
    #[error("it is {0}")]
    Foreign(&'static str),
    /// The file has the tar format of PyTorch's first releases.
    #[error(
        "it is a tar file, as PyTorch's first releases wrote: load it in PyTorch and save its state_dict again, with \
         torch.save"
    )]
    Tar,
    /// The file is a pickle of another program's objects. None was created.
    #[error(
        "it is a pickle of Python objects without tensors ({0}): nothing was run; save the state_dict of the network \
         with torch.save"
    )]
    Pickled(String),
    /// The file holds no tensor.
    #[error("it holds no tensors{}: save the state_dict of the network with torch.save", instead(classes))]
    NoTensors {
        /// Classes and functions that it names. None was created or called.
        classes: String,
    },
    /// No tensor lies under the key that was asked for.
    #[error("no tensor lies under {key}; its keys are {keys}")]
    NoKey {
        /// The key, with a dot.
        key: String,
        /// First keys of the file.
        keys: String,
    },
    /// The folder holds no file with weights.
    #[error("the folder has no weights: none of {0}")]
    NoFile(String),
    /// The index of a checkpoint in several files cannot be read.
    #[error("it is no index of a checkpoint in several files")]
    Index(#[source] serde_json::Error),
    /// The index of a checkpoint in several files names one that is not beside it.
    #[error("its part {0} is not a file beside it")]
    Elsewhere(String),
    /// Containers of the pickle share so much that a small file would become huge.
    #[error("its objects refer to each other more often than those of a checkpoint")]
    Tangled,
    /// The file is shorter or longer than its header says.
    #[error(
        "it is incomplete: its length is not the one that its header describes; download or copy it again"
    )]
    Truncated,
    /// The pickle is damaged.
    #[error("its pickle is damaged at byte {at}: {why}")]
    Pickle {
        /// Position in the pickle, in bytes.
        at: usize,
        /// Reason.
        why: &'static str,
    },
    /// The zip archive cannot be read.
    #[error("its archive is damaged or incomplete")]
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
    /// The tensor is of a kind that has no plain values.
    #[error("is {0}, which cannot be a weight")]
    Kind(&'static str),
    /// The values are not floats.
    #[error("is {0}: weights are F32, F16, BF16 or F64")]
    Type(Dtype),
    /// Shape and strides reach beyond the storage.
    #[error("does not lie inside its storage: {0}")]
    Layout(ShapeError),
}

impl FormatError {
    /// Quotes text of a file, safe for a terminal and not longer than a line.
    pub fn quote(words: &str) -> String {
        const LONGEST: usize = 100;
        let escape = |sign: char| match sign {
            '\'' | '"' => sign.to_string(),
            sign => sign.escape_debug().to_string(),
        };
        let mut quoted: String = words.chars().take(LONGEST).map(escape).collect();
        if words.len() > LONGEST {
            quoted.push('…');
        }
        quoted
    }
}

/// Names what a file without tensors holds instead.
fn instead(classes: &str) -> String {
    match classes {
        "" => String::new(),
        classes => format!(", but objects of {classes} (nothing was run)"),
    }
}
