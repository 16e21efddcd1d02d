//! The files of CIFAR-10, from its archive or a folder.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tar::Archive;

use super::{BATCHES, CifarError, NAMES, Result};

/// The folder inside the archive.
const FOLDER: &str = "cifar-10-batches-bin";

/// One file of the data set.
pub(super) struct Member<'a> {
    pub(super) name: &'static str,
    /// Bytes.
    pub(super) size: u64,
    pub(super) content: &'a mut dyn Read,
    /// What it means that the content cannot be read.
    pub(super) broken: &'a dyn Fn(io::Error) -> CifarError,
}

/// The names of the files that the data set is made of, that of the class names first.
pub fn files() -> impl Iterator<Item = &'static str> {
    [NAMES].into_iter().chain(BATCHES.map(|(name, ..)| name))
}

/// The folder with the files of images, should `path` be it or lie around it.
pub fn folder_of(path: &Path) -> Option<PathBuf> {
    [path.to_owned(), path.join(FOLDER)].into_iter().find(|folder| folder.join(BATCHES[0].0).is_file())
}

/// Shows every file of the data set in `source` to `read`, in any order.
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
