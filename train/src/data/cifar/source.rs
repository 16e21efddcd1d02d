//! Files of CIFAR-10, read from its archive or a folder.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tar::Archive;

use super::{BATCHES, CifarError, NAMES, Result};

/// Folder inside the archive.
const FOLDER: &str = "cifar-10-batches-bin";

/// A file of the data set.
pub(super) struct Member<'a> {
    pub(super) name: &'static str,
    /// Size in bytes.
    pub(super) size: u64,
    pub(super) content: &'a mut dyn Read,
    /// Error to report when the content cannot be read.
    pub(super) broken: &'a dyn Fn(io::Error) -> CifarError,
}

/// Names of the files of the data set, the class names first.
pub fn files() -> impl Iterator<Item = &'static str> {
    [NAMES].into_iter().chain(BATCHES.map(|(name, ..)| name))
}

/// Finds the folder of image files: `path` itself, or a folder in it.
pub fn folder_of(path: &Path) -> Option<PathBuf> {
    [path.to_owned(), path.join(FOLDER)].into_iter().find(|folder| folder.join(BATCHES[0].0).is_file())
}

/// Calls `read` for every file of the data set in `source`, in any order.
pub(super) fn visit(source: &Path, read: impl FnMut(Member) -> Result<()>) -> Result<()> {
    match folder_of(source) {
        Some(folder) => visit_folder(&folder, read),
        None if source.is_dir() => Ok(()),
        None => visit_archive(source, read),
    }
}

fn visit_folder(folder: &Path, mut read: impl FnMut(Member) -> Result<()>) -> Result<()> {
    for name in files() {
        let path = folder.join(name);
        let broken = |source| CifarError::Read { path: path.clone(), source };
        match File::open(&path) {
            Ok(mut content) => {
                let size = content.metadata().map_err(broken)?.len();
                read(Member { name, size, content: &mut content, broken: &broken })?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(())
}

fn visit_archive(path: &Path, mut read: impl FnMut(Member) -> Result<()>) -> Result<()> {
    let broken = |source| CifarError::Archive { path: path.into(), source };
    let file = File::open(path).map_err(|source| CifarError::Read { path: path.into(), source })?;
    let mut archive = Archive::new(GzDecoder::new(file));
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let known =
            entry.path().map_err(broken)?.file_name().and_then(|name| files().find(|file| name == *file));
        if let Some(name) = known {
            read(Member { name, size: entry.size(), content: &mut entry, broken: &broken })?;
        }
    }
    // The checksum comes last, behind the padding.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    Ok(())
}
