//! Errors of listing and loading images, and of making batches.

use std::io;
use std::path::PathBuf;

use ferronnx_infer::data_set::DataSetError;
use ferronnx_infer::{ErrorKind, escape};

use super::shards::ShardError;
use crate::error::{TorchError, chain};

/// Errors of listing the images of a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The folder or list cannot be found.
    #[error("cannot read {}", escape::path(path))]
    Read {
        /// Path of the folder or list.
        path: PathBuf,
        /// Reason of the system.
        source: io::Error,
    },
    /// The folder or list cannot be used.
    #[error(transparent)]
    DataSet(#[from] DataSetError),
    /// Shards or a store cannot be used.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// The path is not text, which a run's configuration needs.
    #[error("the path {} is not UTF-8: rename its folders", escape::path(.0))]
    NotUtf8(PathBuf),
    /// There is one class only.
    #[error(
        "{} has only one class ({}): a classifier needs at least two; if that is the folder of the class folders, name \
         it instead",
        escape::path(path),
        escape::name(class)
    )]
    OneClass {
        /// Folder of the class folders, or list.
        path: PathBuf,
        /// Name of the class.
        class: String,
    },
    /// All images are test or validation images.
    #[error("{} has no training images", escape::path(path))]
    NoTraining {
        /// Folder or list.
        path: PathBuf,
    },
}

/// Errors of loading a set or making a batch.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Images cannot be decoded.
    #[error(transparent)]
    Images(#[from] BadImages),
    /// A shard cannot be read, or has changed.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The decoding thread ended too early.
    #[error("reading images ahead stopped: {0}")]
    Stopped(String),
}

impl From<tch::TchError> for DataError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// True if the image itself is bad. A disk or a network that fails is no reason to leave images out.
pub(super) fn is_bad(error: &ferronnx_infer::Error) -> bool {
    matches!(error.kind(), ErrorKind::Decode(_) | ErrorKind::TooLarge { .. })
}

/// Images that cannot be decoded.
#[derive(Debug)]
pub struct BadImages(pub Vec<ferronnx_infer::Error>);

/// Number of images named in the message.
const NAMED: usize = 5;

impl std::error::Error for BadImages {}

impl std::fmt::Display for BadImages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of the images cannot be used; remove or repair them, or leave them out:",
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
