//! What can be wrong with CIFAR-10.

use std::io;
use std::path::PathBuf;

/// Why CIFAR-10 cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum CifarError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The archive ends too early, was damaged, or is none.
    #[error("{path} is damaged or no .tar.gz archive ({source}): download it again")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What its reader says.
        source: io::Error,
    },
    /// An archive or folder of something else.
    #[error(
        "{path} holds no {member}: give the binary version of CIFAR-10, cifar-10-binary.tar.gz or its folder"
    )]
    Missing {
        /// The archive or folder.
        path: PathBuf,
        /// What it should hold.
        member: &'static str,
    },
    /// A file of it is not as it should be.
    #[error("{path}: {member} {why}: download the archive again")]
    Content {
        /// The archive or folder.
        path: PathBuf,
        /// The file inside.
        member: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The images cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
