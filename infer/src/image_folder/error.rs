//! Errors of folders of labelled images.

use std::path::PathBuf;

use super::Split;
use crate::error::{Error, few};
use crate::escape;

/// Reason why a folder is not a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The folder, or one in it, cannot be listed.
    #[error(transparent)]
    Read(#[from] Error),
    /// The folder has no subfolders.
    #[error("{dir} has no class folders: expected {dir}/CLASS/*.jpg, or {dir}/train/CLASS/*.jpg with {dir}/test",
        dir = escape::path(.0))]
    NoClasses(PathBuf),
    /// No class folder holds an image.
    #[error("{} holds no images in any class folder", escape::path(path))]
    NoImages {
        /// Folder of the class folders.
        path: PathBuf,
    },
    /// One class folder holds no images.
    #[error("class folder {} holds no images: add some or remove the folder", escape::path(.0))]
    EmptyClass(PathBuf),
    /// A class folder's name is not text.
    #[error("class folder {} has a name that is not UTF-8: rename it", escape::path(.0))]
    NotUtf8(PathBuf),
    /// Two class folders have one name, in two normal forms of Unicode.
    #[error(
        "class folders {} and {} have the same name in two Unicode forms: merge them",
        escape::path(first),
        escape::path(second)
    )]
    SameName {
        /// First folder.
        first: PathBuf,
        /// Second folder.
        second: PathBuf,
    },
    /// Split folders hold images and no class folders.
    #[error(
        "{path} has the split folders {names}, which hold images in no class folders: expected \
         {path}/{first}/CLASS/*.jpg, or a list `path,label,split`",
        path = escape::path(path), names = few(folders), first = folders.first().map_or("train", |name| name)
    )]
    UnlabelledSplits {
        /// Folder of the split folders.
        path: PathBuf,
        /// Names of the split folders, escaped.
        folders: Vec<String>,
    },
    /// Two folders have names of the same split.
    #[error(
        "{} and {} are both {split} folders: merge them or remove one",
        escape::path(first),
        escape::path(second)
    )]
    SameSplit {
        /// Split that both are named after.
        split: Split,
        /// First folder.
        first: PathBuf,
        /// Second folder.
        second: PathBuf,
    },
    /// A folder with a split's name holds folders, beside other folders of images.
    #[error(
        "{folder} is either the {split} set or a class, for {others} lie beside it: name {folder} itself if it is the \
         set, or put its images directly into it if it is a class",
        folder = escape::path(folder), others = few(others)
    )]
    Ambiguous {
        /// Folder with the split's name.
        folder: PathBuf,
        /// Split that it is named after.
        split: Split,
        /// Names of the other folders, escaped.
        others: Vec<String>,
    },
    /// All folders hold the same subfolders, which could be the classes.
    #[error(
        "the folders of {path} ({folders}) all hold the same folders ({inner}), so it is unclear which are the \
         classes: keep DIR/CLASS/*.jpg or DIR/train/CLASS/*.jpg, or write a list `path,label,split`",
        path = escape::path(path), folders = few(folders), inner = few(inner)
    )]
    SameSubfolders {
        /// Folder that holds them.
        path: PathBuf,
        /// Names of its folders, escaped.
        folders: Vec<String>,
        /// Names of the folders in all of them, escaped.
        inner: Vec<String>,
    },
}
