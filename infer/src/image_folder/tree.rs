//! Tree of folders with the images in them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::FolderError;
use crate::files::{self, LeftOut};

/// Folder with its images and subfolders.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub path: PathBuf,
    /// Images directly in it.
    pub images: Vec<PathBuf>,
    /// Subfolders, sorted by name.
    pub folders: Vec<Folder>,
}

impl Folder {
    /// Lists a folder with everything below it.
    pub fn read(dir: &Path) -> Result<(Self, LeftOut), FolderError> {
        let mut found = files::find(dir)?;
        if !found.failed.is_empty() {
            return Err(found.failed.swap_remove(0).into());
        }
        let mut root = Self { path: dir.into(), ..Self::default() };
        for path in &found.folders {
            root.below(path.strip_prefix(dir).unwrap_or(path));
        }
        for path in found.images {
            let folder = path.parent().unwrap_or(dir);
            root.below(folder.strip_prefix(dir).unwrap_or(folder)).images.push(path);
        }
        Ok((root, found.left_out))
    }

    /// Finds the folder at a relative path, and adds it where it is missing.
    fn below(&mut self, relative: &Path) -> &mut Self {
        relative.iter().fold(self, |folder, name| {
            let at = folder.folders.binary_search_by_key(&name, Self::name).unwrap_or_else(|at| {
                folder.folders.insert(at, Self { path: folder.path.join(name), ..Self::default() });
                at
            });
            &mut folder.folders[at]
        })
    }

    /// Last part of the path.
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Tells whether there are images in it or below.
    pub fn holds_images(&self) -> bool {
        !self.images.is_empty() || self.folders.iter().any(Self::holds_images)
    }

    /// Subfolders that hold images.
    pub fn with_images(&self) -> Vec<&Self> {
        self.folders.iter().filter(|folder| folder.holds_images()).collect()
    }

    /// Images in it and below, sorted by path.
    pub fn all_images(&self) -> Vec<PathBuf> {
        let below = self.folders.iter().flat_map(Self::all_images);
        let mut images: Vec<_> = self.images.iter().cloned().chain(below).collect();
        images.sort();
        images
    }

    /// Names of the subfolders that hold images.
    pub fn names(&self) -> Vec<OsString> {
        self.with_images().iter().map(|folder| folder.name().to_owned()).collect()
    }
}
