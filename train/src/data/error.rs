//! What can go wrong between a folder and a batch.

use crate::error::TorchError;

/// Why there is no set, or no batch.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Pictures cannot be used.
    #[error(transparent)]
    Pictures(#[from] BadPictures),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The thread that reads ahead ended before its work did.
    #[error("reading pictures ahead stopped: {0}")]
    Stopped(String),
}

impl From<tch::TchError> for DataError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// Whether a picture itself is bad; a disk or a network that fails is no reason to leave pictures out.
pub(super) fn is_bad(error: &infer::Error) -> bool {
    matches!(error, infer::Error::Decode { .. } | infer::Error::TooLarge { .. })
}

/// Pictures that cannot be used.
#[derive(Debug)]
pub struct BadPictures(pub Vec<infer::Error>);

/// As many are named; a folder of the wrong kind would fill the screen.
const NAMED: usize = 5;

impl std::error::Error for BadPictures {}

impl std::fmt::Display for BadPictures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of the pictures cannot be used; remove or repair them, or give --skip-bad (with --resume too):",
            self.0.len()
        )?;
        for error in self.0.iter().take(NAMED) {
            write!(f, "\n  {error}")?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
