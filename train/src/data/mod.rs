//! From a folder of pictures to batches.

pub mod augment;
pub mod batches;
pub mod cifar;
pub mod folder;
pub mod pictures;
pub mod split;

use std::path::PathBuf;

/// A labelled picture file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Index of its class.
    pub label: usize,
}
