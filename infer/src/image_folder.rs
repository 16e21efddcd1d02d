//! Labelled images in class folders, `DIR/CLASS/*.jpg`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::error::{Error, few};
use crate::files;

/// Image file with its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Path of the file.
    pub path: PathBuf,
    /// Index of the class.
    pub label: usize,
}

/// Reason why a folder is not a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The folder cannot be listed.
    #[error("cannot read {path}")]
    Read {
        /// Path of the folder.
        path: PathBuf,
        /// Reason of the system.
        source: io::Error,
    },
    /// The folder has no subfolders.
    #[error("{0} has no class folders: expected {0}/CLASS/*.jpg, or {0}/train/CLASS/*.jpg with {0}/test")]
    NoClasses(PathBuf),
    /// The folder has one subfolder only.
    #[error("{path} has only one class ({class}): a classifier needs at least two class folders")]
    OneClass {
        /// Folder of the class folders.
        path: PathBuf,
        /// Name of the class.
        class: String,
    },
    /// No class folder holds an image.
    #[error("{path} holds no images in any class folder (looked for {extensions})",
        extensions = files::EXTENSIONS.join(", "))]
    NoImages {
        /// Folder of the class folders.
        path: PathBuf,
    },
    /// One class folder holds no images.
    #[error("class folder {0} holds no images: add some or remove the folder")]
    EmptyClass(PathBuf),
    /// A class folder has a name that is not among the expected classes.
    #[error("class {class} in {path} is none of the known ones ({})", few(known))]
    UnknownClass {
        /// Folder of the class folders.
        path: PathBuf,
        /// Name of the class.
        class: String,
        /// Expected classes.
        known: Vec<String>,
    },
    /// The images of a class cannot be listed.
    #[error(transparent)]
    Images(#[from] Error),
}

/// Lists the images of the class folders in `dir`; a sample's label is the position of its class in `classes`.
///
/// # Errors
/// [`FolderError`]: a folder cannot be read, has no images, or is none of `classes`.
pub fn scan(dir: impl AsRef<Path>, classes: &[String]) -> Result<Vec<Sample>, FolderError> {
    let dir = dir.as_ref();
    let found = class_folders(dir)?;
    let mut samples = Vec::new();
    let mut empty = None;
    for class in &found {
        let Some(label) = classes.iter().position(|known| known == class) else {
            let (path, class, known) = (dir.into(), class.clone(), classes.to_vec());
            return Err(FolderError::UnknownClass { path, class, known });
        };
        let images = files::images_in(dir.join(class))?;
        if images.is_empty() {
            empty = empty.or_else(|| Some(dir.join(class)));
        }
        samples.extend(images.into_iter().map(|path| Sample { path, label }));
    }
    match empty {
        _ if samples.is_empty() => Err(FolderError::NoImages { path: dir.into() }),
        Some(path) => Err(FolderError::EmptyClass(path)),
        None => Ok(samples),
    }
}

/// Finds the folder of held-out images in `dir`: `DIR/test`, else `DIR/val`.
pub fn held_out(dir: impl AsRef<Path>) -> Option<PathBuf> {
    ["test", "val"].map(|name| dir.as_ref().join(name)).into_iter().find(|path| path.is_dir())
}

/// Lists the names of the folders in `dir`, sorted; hidden folders are left out.
///
/// # Errors
/// [`FolderError::Read`] when `dir` cannot be listed, [`FolderError::NoClasses`] when it has no folders.
pub fn class_folders(dir: impl AsRef<Path>) -> Result<Vec<String>, FolderError> {
    let dir = dir.as_ref();
    let read = |source| FolderError::Read { path: dir.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(FolderError::NoClasses(dir.into()));
    }
    names.sort();
    Ok(names)
}
