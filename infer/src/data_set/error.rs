//! Errors of data sets.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::few;
use crate::escape;
use crate::image_folder::FolderError;
use crate::image_list::ListError;

/// Place that an image was named in: a folder, or a line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePlace {
    /// Folder of the class folders, or the list.
    pub path: PathBuf,
    /// Line of the list, counted from 1.
    pub line: Option<u64>,
}

impl fmt::Display for ImagePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape::path(&self.path).fmt(f)?;
        self.line.map_or(Ok(()), |line| write!(f, ", line {line}"))
    }
}

/// Reason why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataSetError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The list cannot be used.
    #[error(transparent)]
    List(#[from] ListError),
    /// All images are training images, and none are left to evaluate on.
    #[error(
        "{} holds training images only: name {} to evaluate on them",
        escape::path(path),
        escape::path(train)
    )]
    TrainingOnly {
        /// Folder or list.
        path: PathBuf,
        /// Folder of the training images.
        train: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}", escape::path(path))]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the system.
        source: io::Error,
    },
    /// Classes are not among the expected ones.
    #[error("{classes} in {place} {verb} none of the known ones ({known})",
        classes = classes(unknown), verb = if unknown.len() == 1 { "is" } else { "are" }, known = few_names(known))]
    UnknownClasses {
        /// Place of the first image of such a class.
        place: ImagePlace,
        /// Names of the classes, sorted.
        unknown: Vec<String>,
        /// Expected classes.
        known: Vec<String>,
    },
    /// A name is that of several expected classes.
    #[error(
        "class {} in {place} is ambiguous: several of the known ones have this name",
        escape::name(class)
    )]
    AmbiguousClass {
        /// Place of the first image of the class.
        place: ImagePlace,
        /// Name of the class.
        class: String,
    },
    /// An image has several labels where one is needed.
    #[error("{place} has several labels ({}), and one is needed", few_names(labels))]
    SeveralLabels {
        /// Place of the image.
        place: ImagePlace,
        /// Labels.
        labels: Vec<String>,
    },
    /// An image has no label where one is needed.
    #[error("{0} has no label")]
    NoLabel(ImagePlace),
}

/// First of `names`, escaped.
fn few_names(names: &[String]) -> String {
    few(&names.iter().map(|name| escape::name(name).into_owned()).collect::<Vec<_>>())
}

/// Names classes: `class a`, `classes a, b`.
fn classes(names: &[String]) -> String {
    let plural = if names.len() == 1 { "class" } else { "classes" };
    format!("{plural} {}", few_names(names))
}
