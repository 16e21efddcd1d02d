//! Errors of lists of images.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::escape;

/// Error of a list, with the line where it is known.
#[derive(Debug)]
pub struct ListError {
    /// List.
    pub path: PathBuf,
    /// Line, counted from 1.
    pub line: Option<u64>,
    /// Reason.
    pub kind: ListErrorKind,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape::path(&self.path).fmt(f)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for ListError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.kind)
    }
}

/// Reason why a list cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListErrorKind {
    /// The list cannot be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// The content is not text.
    #[error("not a list of images: expected a folder, or lines of `path,label`")]
    NotAList,
    /// The list has no images.
    #[error("lists no images")]
    Empty,
    /// The columns are unknown.
    #[error("the columns are unknown ({found}): the first line has to be `path,label` or `path,label,split`")]
    NoColumns {
        /// First line, escaped.
        found: String,
    },
    /// A line has more or fewer fields than the first.
    #[error("{found} fields instead of {expected}: put a field that holds the separator into double quotes")]
    Fields {
        /// Number of fields.
        found: usize,
        /// Number of fields of the first line.
        expected: usize,
    },
    /// The path is missing.
    #[error("the path is missing")]
    NoPath,
    /// The split is missing, which other lines have.
    #[error("the split is missing: use train, val or test in every line")]
    NoSplit,
    /// The split is unknown.
    #[error("`{}` is not the name of a split: use train, val or test", escape::name(.0))]
    UnknownSplit(String),
    /// A field is not text.
    #[error("not in UTF-8: save the list as UTF-8")]
    NotUtf8,
    /// A quoted field goes on in the next line.
    #[error("a field in double quotes does not end in its line")]
    SpansLines,
    /// An image is listed twice.
    #[error("{} is listed before, in line {first}", escape::path(path))]
    Duplicate {
        /// Path of the image.
        path: PathBuf,
        /// Line that lists it first.
        first: u64,
    },
    /// Images do not exist.
    #[error("no such file: {}{}", escape::path(path), and_more(*more))]
    Missing {
        /// First image that does not exist.
        path: PathBuf,
        /// Number of others.
        more: usize,
    },
    /// A path is that of a folder.
    #[error("{} is a folder: list its images", escape::path(.0))]
    Folder(PathBuf),
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more of the list's images)") }
}
