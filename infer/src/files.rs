//! Search for image files in folders.

mod ignored;
mod left_out;
mod signature;

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Serializer;
use serde::ser::SerializeMap;
use walkdir::{DirEntry, WalkDir};

#[cfg(feature = "data")]
pub(crate) use ignored::holds_only_runs;
pub use left_out::{LeftOut, LeftOutEntry, LeftOutReason};

use crate::error::{Error, Result};

/// File extensions of the image formats that are decoded, in lower case.
pub const EXTENSIONS: &[&str] = if cfg!(feature = "formats") {
    &["jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "webp"]
} else {
    &["jpg", "jpeg", "png", "bmp"]
};

/// Images of a folder and its subfolders, with everything else that the search met.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// Images, sorted by path.
    pub images: Vec<PathBuf>,
    /// Folders below the one searched, sorted by path.
    pub folders: Vec<PathBuf>,
    /// Files and folders that were left out.
    pub left_out: LeftOut,
    /// Folders that could not be read, each named by its error.
    pub failed: Vec<Error>,
}

/// Tells whether a file is named like an image, or begins like one: the name may be missing or wrong.
///
/// # Errors
/// Those of the system, when the name does not tell and the file cannot be read.
fn is_image(path: &Path) -> io::Result<bool> {
    if has_image_extension(path) { Ok(true) } else { signature::is_image_file(path) }
}

/// Tells whether a file's extension is one of [`EXTENSIONS`], in upper or lower case.
pub(crate) fn has_image_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Lists the images in `dir` and its subfolders, sorted by path; what [`find`] leaves out is not reported.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) or [`Io`](crate::ErrorKind::Io), naming the folder that cannot be read.
pub fn images_in(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let mut found = find(dir)?;
    if found.failed.is_empty() { Ok(found.images) } else { Err(found.failed.swap_remove(0)) }
}

/// Finds the images in `dir` and its subfolders; links are followed. A file instead of a folder is taken as an image.
///
/// An image is known by its content or by its name. One that is only named so is listed too, also as a broken link: its
/// reader reports the reason. Left out are other files, hidden ones, those of systems and tools, and run folders.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) or [`Io`](crate::ErrorKind::Io) when `dir` itself cannot be read.
pub fn find(dir: impl AsRef<Path>) -> Result<Found> {
    let dir = dir.as_ref();
    let mut found = Found::default();
    if metadata(dir)?.is_file() {
        found.images.push(dir.into());
        return Ok(found);
    }
    for entry in walk(dir)? {
        match entry {
            Entry::Image(path) => found.images.push(path),
            Entry::Folder(path) => found.folders.push(path),
            Entry::LeftOut(path, reason) => found.left_out.add(path, reason),
            Entry::Failed(error) => found.failed.push(error),
        }
    }
    found.images.sort();
    found.folders.sort();
    Ok(found)
}

/// File or folder that a search meets.
#[derive(Debug)]
pub(crate) enum Entry {
    Image(PathBuf),
    Folder(PathBuf),
    LeftOut(PathBuf, LeftOutReason),
    /// Folder that cannot be read.
    Failed(Error),
}

/// Searches `dir` as [`find`] does, one entry after the other, each folder in the order of its names.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) or [`Io`](crate::ErrorKind::Io) when `dir` itself cannot be read.
pub(crate) fn walk(dir: &Path) -> Result<impl Iterator<Item = Entry> + Send + use<>> {
    fs::read_dir(dir).map_err(|error| Error::io(dir, error))?;
    let dir = dir.to_owned();
    let mut entries = WalkDir::new(&dir).min_depth(1).follow_links(true).sort_by_file_name().into_iter();
    Ok(std::iter::from_fn(move || {
        Some(match entries.next()? {
            Ok(entry) => match ignored(&entry) {
                Some(reason) => {
                    if entry.file_type().is_dir() {
                        entries.skip_current_dir();
                    }
                    Entry::LeftOut(entry.into_path(), reason)
                }
                None => Entry::of(entry),
            },
            Err(error) => Entry::of_error(&dir, error),
        })
    }))
}

impl Entry {
    fn of(entry: DirEntry) -> Self {
        let is_file = entry.file_type().is_file();
        let path = entry.into_path();
        if !is_file {
            return match path.is_dir() {
                true => Self::Folder(path),
                false => Self::LeftOut(path, LeftOutReason::NotAnImage),
            };
        }
        match is_image(&path) {
            Ok(true) => Self::Image(path),
            Ok(false) => Self::LeftOut(path, LeftOutReason::NotAnImage),
            Err(_) => Self::LeftOut(path, LeftOutReason::Unreadable),
        }
    }

    fn of_error(dir: &Path, error: walkdir::Error) -> Self {
        let path = error.path().unwrap_or(dir).to_owned();
        if !path.is_symlink() {
            let reason = error.into_io_error().unwrap_or_else(|| io::Error::other("the links form a loop"));
            Self::Failed(Error::io(&path, reason))
        } else if let Some(reason) = ignored_name(&path) {
            Self::LeftOut(path, reason)
        } else if has_image_extension(&path) {
            Self::Image(path)
        } else {
            Self::LeftOut(path, LeftOutReason::Link)
        }
    }
}

/// Reason to leave out a file or folder without looking at its images.
fn ignored(entry: &DirEntry) -> Option<LeftOutReason> {
    let run = || (entry.file_type().is_dir() && ignored::is_run(entry.path())).then_some(LeftOutReason::Run);
    ignored_name(entry.path()).or_else(run)
}

pub(crate) fn ignored_name(path: &Path) -> Option<LeftOutReason> {
    let name = path.file_name().unwrap_or_default();
    match (ignored::is_system(name), ignored::is_hidden(name)) {
        (true, _) => Some(LeftOutReason::System),
        (_, true) => Some(LeftOutReason::Hidden),
        _ => None,
    }
}

/// Serialises a path as the field `path`; for a path that is not UTF-8, `path_bytes` has its bytes, since JSON is UTF-8.
///
/// It is for a flattened field: `#[serde(flatten, serialize_with = "serialize_path")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize_path<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_map(None)?;
    fields.serialize_entry("path", &path.to_string_lossy())?;
    if path.to_str().is_none() {
        fields.serialize_entry("path_bytes", path.as_os_str().as_encoded_bytes())?;
    }
    fields.end()
}

/// Reads the metadata of a file or folder; an error names it.
pub(crate) fn metadata(path: &Path) -> Result<fs::Metadata> {
    fs::metadata(path).map_err(|error| Error::io(path, error))
}

#[cfg(test)]
mod tests;
