//! What can go wrong between a folder and a batch.

use ferronnx_infer::ErrorKind;
use ferronnx_infer::error::chain;

use crate::error::TorchError;

/// Why there is no set, or no batch.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Images cannot be used.
    #[error(transparent)]
    Images(#[from] BadImages),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The thread that reads ahead ended before its work did.
    #[error("reading images ahead stopped: {0}")]
    Stopped(String),
}

impl From<tch::TchError> for DataError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// Whether an image itself is bad; a disk or a network that fails is no reason to leave images out.
pub(super) fn is_bad(error: &ferronnx_infer::Error) -> bool {
    matches!(error.kind(), ErrorKind::Decode(_) | ErrorKind::TooLarge { .. })
}

/// Images that cannot be used.
#[derive(Debug)]
pub struct BadImages(pub Vec<ferronnx_infer::Error>);

/// As many are named; a folder of the wrong kind would fill the screen.
const NAMED: usize = 5;

impl std::error::Error for BadImages {}

impl std::fmt::Display for BadImages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of the images cannot be used; remove or repair them, or give --skip-bad (with --resume too):",
            self.0.len()
        )?;
        for error in self.0.iter().take(NAMED) {
            write!(f, "\n  {}", chain(error))?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
