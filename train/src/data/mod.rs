//! From a folder of pictures to batches.

pub mod augment;
pub mod batches;
pub mod folder;
pub mod pictures;
pub mod split;

use std::path::PathBuf;

/// STANDIN
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A
    #[error(transparent)]
    Torch(#[from] crate::error::TorchError),
}

/// A labelled picture file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Index of its class.
    pub label: usize,
}
