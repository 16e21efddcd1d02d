//! Why a checkpoint cannot be read or written.

use std::io;
use std::path::PathBuf;

/// Why a file is no checkpoint, or cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its bytes are not weights.
    #[error("{path} is not a checkpoint")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// safetensors cannot hold these weights.
    #[error("cannot save {path}")]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: safetensors::SafeTensorError,
    },
}

/// What is wrong with the bytes of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// None of the formats.
    #[error("it is neither a safetensors file nor one that torch.save writes")]
    Unknown,
    /// The format of PyTorch's first releases.
    #[error(
        "it is a tar file of PyTorch's first releases: load it in PyTorch and save its state_dict again, with torch.save"
    )]
    Tar,
    /// A program.
    #[error("it is a TorchScript program: save the state_dict of the module instead, with torch.save")]
    TorchScript,
    /// Its pickle wants something of Python, and does not get it.
    #[error(
        "it asks Python for {0}, which weights do not need (nothing was run): if you trust it, load it in PyTorch and \
         save its state_dict alone"
    )]
    Global(String),
    /// Its pickle is not one.
    #[error("its pickle is damaged at byte {at}: {why}")]
    Pickle {
        /// Place in the pickle.
        at: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// The rest of it.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Something else was saved.
    #[error("it holds no state_dict, neither alone nor under {known}; what it holds: {found}")]
    NoStateDict {
        /// Where one is looked for.
        known: String,
        /// What there is.
        found: String,
    },
    /// A tensor that cannot be a weight.
    #[error("{name} {why}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

impl FormatError {
    /// Words of the file, safe on a terminal and not longer than a line.
    pub(super) fn quote(words: &str) -> String {
        const LONGEST: usize = 100;
        let mut quoted: String = words.escape_debug().take(LONGEST).collect();
        if words.len() > LONGEST {
            quoted.push('…');
        }
        quoted
    }
}
