//! Reasons why a Triton model repository cannot be written.

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Reason why a Triton model repository cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TritonError {
    /// No model was given.
    #[error("no model is given")]
    Nothing,
    /// The name is that of a hidden folder.
    #[error("`{0}` cannot name a model in Triton: it begins with `.`")]
    Name(String),
    /// The version is not a number.
    #[error("version `{version}` of {name}: Triton's versions are whole numbers from 1 on")]
    Version {
        /// Name of the model.
        name: String,
        /// Version of the model.
        version: String,
    },
    /// The same version of a model was given twice.
    #[error("version {version} of {name} is given twice")]
    Twice {
        /// Name of the model.
        name: String,
        /// Version of the model.
        version: NonZeroU32,
    },
    /// A model cannot be used.
    #[error(transparent)]
    Model(#[from] Error),
    /// The certificate of a model does not hold.
    #[error("{}: the certificate does not hold: {}", path.display(), failures.join("; "))]
    Certificate {
        /// Model file.
        path: PathBuf,
        /// Failures, one sentence each.
        failures: Vec<String>,
    },
    /// The model gives something else than tensors.
    #[error(
        "{}: gives maps (`ZipMap`), and Triton takes tensors only: convert it again with `zipmap` set to False",
        .0.display()
    )]
    Maps(PathBuf),
    /// A label has a line break, and labels are written one a line.
    #[error("{}: the label `{}` has more than one line, and Triton reads labels line by line", path.display(), label.escape_debug())]
    Label {
        /// Model file.
        path: PathBuf,
        /// The label.
        label: String,
    },
    /// A file with weights of the model is not in its folder.
    #[error("{}: its weights are in `{}`, which is not in the folder of the model", path.display(), location.escape_debug())]
    Weights {
        /// Model file.
        path: PathBuf,
        /// Name of the file with weights.
        location: String,
    },
    /// Versions of a model have one configuration in Triton, and these need different ones.
    #[error(
        "{} and {} cannot be versions of {name}: their inputs, outputs or labels differ",
        first.display(),
        second.display()
    )]
    Different {
        /// Name of the model.
        name: String,
        /// File of one version.
        first: PathBuf,
        /// File of another version.
        second: PathBuf,
    },
    /// The folder exists and was not written here.
    #[error("{} exists, and is not a folder that this program wrote", .0.display())]
    NotOurs(PathBuf),
    /// The folder holds something that would be lost.
    #[error("{} holds `{}`, which would be lost", folder.display(), name.escape_debug())]
    Lost {
        /// Folder of the model.
        folder: PathBuf,
        /// Name of the file or version.
        name: String,
    },
    /// The system refused to read or write.
    #[error("cannot write {}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Reason of the system.
        source: io::Error,
    },
}

impl TritonError {
    /// Converts an error of the system about `path`.
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }
}
