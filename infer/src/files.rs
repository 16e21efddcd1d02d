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
fn has_image_extension(path: &Path) -> bool {
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
    fs::read_dir(dir).map_err(|error| Error::io(dir, error))?;
    let mut entries = WalkDir::new(dir).min_depth(1).follow_links(true).sort_by_file_name().into_iter();
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => match ignored(&entry) {
                Some(reason) => {
                    if entry.file_type().is_dir() {
                        entries.skip_current_dir();
                    }
                    found.left_out.add(entry.into_path(), reason);
                }
                None => found.add(entry),
            },
            Err(error) => found.add_error(dir, error),
        }
    }
    found.images.sort();
    found.folders.sort();
    Ok(found)
}

impl Found {
    fn add(&mut self, entry: DirEntry) {
        let is_file = entry.file_type().is_file();
        let path = entry.into_path();
        if !is_file {
            match path.is_dir() {
                true => self.folders.push(path),
                false => self.left_out.add(path, LeftOutReason::NotAnImage),
            }
            return;
        }
        match is_image(&path) {
            Ok(true) => self.images.push(path),
            Ok(false) => self.left_out.add(path, LeftOutReason::NotAnImage),
            Err(_) => self.left_out.add(path, LeftOutReason::Unreadable),
        }
    }

    fn add_error(&mut self, dir: &Path, error: walkdir::Error) {
        let path = error.path().unwrap_or(dir).to_owned();
        if !path.is_symlink() {
            let reason = error.into_io_error().unwrap_or_else(|| io::Error::other("the links form a loop"));
            self.failed.push(Error::io(&path, reason));
        } else if let Some(reason) = ignored_name(&path) {
            self.left_out.add(path, reason);
        } else if has_image_extension(&path) {
            self.images.push(path);
        } else {
            self.left_out.add(path, LeftOutReason::Link);
        }
    }
}

/// Reason to leave out a file or folder without looking at its images.
fn ignored(entry: &DirEntry) -> Option<LeftOutReason> {
    let run = || (entry.file_type().is_dir() && ignored::is_run(entry.path())).then_some(LeftOutReason::Run);
    ignored_name(entry.path()).or_else(run)
}

fn ignored_name(path: &Path) -> Option<LeftOutReason> {
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
