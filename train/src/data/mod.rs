//! From a folder of pictures to batches.

mod ahead;
pub mod augment;
pub mod batches;
pub mod cifar;
mod error;
pub mod folder;
pub mod pictures;
mod random;
pub mod split;

use std::path::PathBuf;

pub use error::{BadPictures, DataError};

/// A labelled picture file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Index of its class.
    pub label: usize,
}
