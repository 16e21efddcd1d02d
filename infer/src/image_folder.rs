//! Images whose classes are known: a folder a class.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::error::{Error, few};
use crate::files;

/// A labelled image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Index of its class.
    pub label: usize,
}

/// Why a folder is not a data set.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be listed.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nothing that could be a class.
    #[error("{0} has no class folders: expected {0}/CLASS/*.jpg, or {0}/train/CLASS/*.jpg with {0}/test")]
    NoClasses(PathBuf),
    /// A single class.
    #[error("{path} has only one class ({class}): a classifier needs at least two class folders")]
    OneClass {
        /// The folder of the class folders.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// Class folders without any image.
    #[error("{path} holds no images in any class folder (looked for {extensions})",
        extensions = files::EXTENSIONS.join(", "))]
    NoImages {
        /// The folder of the class folders.
        path: PathBuf,
    },
    /// One class folder without images.
    #[error("class folder {0} holds no images: add some or remove the folder")]
    EmptyClass(PathBuf),
    /// A class that is not known.
    #[error("class {class} in {path} is none of the known ones ({})", few(known))]
    UnknownClass {
        /// The folder of the class folders.
        path: PathBuf,
        /// The class.
        class: String,
        /// The classes that there are.
        known: Vec<String>,
    },
    /// The images of a class cannot be listed.
    #[error(transparent)]
    Images(#[from] Error),
}

/// The images of `dir`, `DIR/CLASS/...`, whose class folders are all among `classes`.
///
/// # Errors
/// [`FolderError`].
pub fn scan(dir: &Path, classes: &[String]) -> Result<Vec<Sample>, FolderError> {
    let found = class_folders(dir)?;
    let mut samples = Vec::new();
    let mut empty = None;
    for class in &found {
        let Some(label) = classes.iter().position(|known| known == class) else {
            let (path, class, known) = (dir.into(), class.clone(), classes.to_vec());
            return Err(FolderError::UnknownClass { path, class, known });
        };
        let images = files::images_in(&dir.join(class))?;
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

/// Where the images that training does not see lie in `dir`: `DIR/test`, or `DIR/val`.
pub fn held_out(dir: &Path) -> Option<PathBuf> {
    ["test", "val"].map(|name| dir.join(name)).into_iter().find(|path| path.is_dir())
}

/// Names of the folders in `dir`, sorted; hidden ones are not classes.
///
/// # Errors
/// When it cannot be listed, or there are none.
pub fn class_folders(dir: &Path) -> Result<Vec<String>, FolderError> {
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
