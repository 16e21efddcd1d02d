//! Errors of unpacking CIFAR-10.

use std::io;
use std::path::PathBuf;

/// Errors of unpacking CIFAR-10.
#[derive(Debug, thiserror::Error)]
pub enum CifarError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The archive ends too early or is damaged.
    #[error("{path} is damaged or no .tar.gz archive, download it again")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The archive or folder holds something else.
    #[error(
        "{path} holds no {member}: give the binary version of CIFAR-10, cifar-10-binary.tar.gz or its folder"
    )]
    Missing {
        /// The archive or folder.
        path: PathBuf,
        /// Expected content.
        member: &'static str,
    },
    /// A file of the data set is damaged.
    #[error("{path}: {member} {why}: download the archive again")]
    Content {
        /// The archive or folder.
        path: PathBuf,
        /// The file inside.
        member: &'static str,
        /// The reason.
        why: String,
    },
    /// The images cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}
