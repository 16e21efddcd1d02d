//! Lists of labelled images: CSV with `path,label` and, where the data set has parts, `split`.
//!
//! ```csv
//! path,label,split
//! photos/1.jpg,cat,train
//! photos/2.jpg,cat;outdoors,test
//! ```
//!
//! Paths are relative to the list. Labels of an image are separated by `;`. Columns may also be separated by tabs or, if
//! the header is, by semicolons. The header may be missing where two columns, or a third one with splits, leave no doubt.

mod error;
pub(crate) mod table;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

pub use error::{ListError, ListErrorKind};

use crate::data_set::LabelledImage;
use crate::files;
use table::{Row, Table};

/// Largest size of a list, in bytes.
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// List of labelled images.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageList {
    /// Images, in the order of the lines.
    pub images: Vec<LabelledImage>,
}

impl ImageList {
    /// Reads the list at `path`, and checks that its images exist.
    ///
    /// # Errors
    /// [`ListError`] names the list and the line.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ListError> {
        let path = path.as_ref();
        let at = |line, kind| ListError { path: path.into(), line, kind };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| at(None, ListErrorKind::Read(error)))?;
        let mut list = Self::parse(&bytes, path)?;
        let mut missing: Option<(u64, PathBuf)> = None;
        let mut count = 0;
        for image in &mut list.images {
            let line = image.line.unwrap_or_default();
            match existing(&image.path) {
                Some(found) if found.is_dir() => {
                    return Err(at(Some(line), ListErrorKind::Folder(found)));
                }
                Some(found) => image.path = found,
                None => {
                    count += 1;
                    missing.get_or_insert_with(|| (line, image.path.clone()));
                }
            }
        }
        match missing {
            Some((line, path)) => Err(at(Some(line), ListErrorKind::Missing { path, more: count - 1 })),
            None => Ok(list),
        }
    }

    /// Parses the content of the list at `path`, whose folder the images' paths are relative to; no file is opened.
    ///
    /// # Errors
    /// As [`read`](Self::read), but for files that cannot be opened.
    pub fn parse(bytes: &[u8], path: impl AsRef<Path>) -> Result<Self, ListError> {
        let path = path.as_ref();
        let at = |line, kind| ListError { path: path.into(), line, kind };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(at(None, ListErrorKind::NotAList));
        }
        let base = path.parent().unwrap_or(Path::new(""));
        let table = Table::new(bytes).map_err(|kind| at(None, kind))?;
        let mut images = Vec::new();
        let mut lines: HashMap<PathBuf, u64> = HashMap::new();
        let add = |line, row: Row<'_>| {
            let image = labelled(row, base, line)?;
            if let Some(first) = lines.insert(image.path.clone(), line) {
                return Err(ListErrorKind::Duplicate { path: image.path, first });
            }
            images.push(image);
            Ok(())
        };
        table.each(add).map_err(|(line, kind)| at(Some(line), kind))?;
        if images.is_empty() {
            return Err(at(None, ListErrorKind::Empty));
        }
        Ok(Self { images })
    }
}

pub(crate) fn labelled(row: Row<'_>, base: &Path, line: u64) -> Result<LabelledImage, ListErrorKind> {
    let text = |bytes| std::str::from_utf8(bytes).map(str::trim).map_err(|_| ListErrorKind::NotUtf8);
    let mut labels: Vec<String> = Vec::new();
    for label in text(row.label)?.split(';').map(str::trim).filter(|label| !label.is_empty()) {
        let label: String = label.nfc().collect();
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let split = match row.split.map(text).transpose()? {
        Some("") => return Err(ListErrorKind::NoSplit),
        Some(word) => Some(word.parse().map_err(|_| ListErrorKind::UnknownSplit(word.into()))?),
        None => None,
    };
    if row.path.is_empty() {
        return Err(ListErrorKind::NoPath);
    }
    Ok(LabelledImage { path: base.join(relative(row.path)?), labels, split, line: Some(line) })
}

/// Converts the bytes of a path; on Unix they may be any.
#[cfg(unix)]
fn relative(bytes: &[u8]) -> Result<&Path, ListErrorKind> {
    use std::os::unix::ffi::OsStrExt;
    Ok(Path::new(std::ffi::OsStr::from_bytes(bytes)))
}

/// Converts the bytes of a path, which have to be UTF-8.
#[cfg(not(unix))]
fn relative(bytes: &[u8]) -> Result<&Path, ListErrorKind> {
    std::str::from_utf8(bytes).map(Path::new).map_err(|_| ListErrorKind::NotUtf8)
}

/// Finds a file as it is named, or as another system would name it: in the other Unicode form, or with `\` for `/`.
pub(crate) fn existing(path: &Path) -> Option<PathBuf> {
    let exists = |path: &Path| files::metadata(path).is_ok();
    if exists(path) {
        return Some(path.into());
    }
    let text = path.to_str()?;
    let forms = [text.nfc().collect(), text.nfd().collect(), text.replace('\\', "/")];
    forms.into_iter().map(PathBuf::from).find(|other| exists(other))
}

#[cfg(test)]
mod tests;
