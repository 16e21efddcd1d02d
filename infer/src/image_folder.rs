//! Labelled images in class folders: `DIR/CLASS/*.jpg`, or `DIR/train/CLASS/*.jpg` with `DIR/test`.
//!
//! [`DataSet::open`](crate::data_set::DataSet::open) reads them.

mod error;
mod layout;
mod split;
mod tree;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use error::FolderError;
pub use split::{Split, UnknownSplit};

use crate::data_set::{DataSet, LabelledImage, nfc};
use crate::files::{self, LeftOut, LeftOutReason};
use tree::Folder;

/// Lists the images of the class folders in `dir`, or in its split folders; none is decoded.
pub(crate) fn read(dir: &Path) -> Result<DataSet, FolderError> {
    let (root, mut left_out) = Folder::read(dir)?;
    let mut splits = layout::split_folders(&root, &mut left_out)?;
    splits.sort_by_key(|(split, _)| *split);
    let mut images = Vec::new();
    if splits.is_empty() {
        images = class_images(&root, None, &mut left_out)?;
    } else {
        strays(&root, &mut left_out);
    }
    for (split, folder) in &splits {
        images.extend(class_images(folder, Some(*split), &mut left_out)?);
    }
    let folders = splits.into_iter().map(|(split, folder)| (split, folder.path.clone())).collect();
    Ok(DataSet { source: dir.into(), images, folders, left_out })
}

/// Lists the images of the class folders in `root`, by class and then by path.
fn class_images(
    root: &Folder,
    split: Option<Split>,
    left_out: &mut LeftOut,
) -> Result<Vec<LabelledImage>, FolderError> {
    strays(root, left_out);
    let (full, empty): (Vec<_>, Vec<_>) = root.folders.iter().partition(|folder| folder.holds_images());
    // A folder of run folders is one more of those that were left out.
    let mut empty = empty.into_iter().filter(|folder| !files::holds_only_runs(&folder.path)).peekable();
    if full.is_empty() {
        let path = root.path.clone();
        return Err(if empty.peek().is_none() {
            FolderError::NoClasses(path)
        } else {
            FolderError::NoImages { path }
        });
    }
    let mut classes = full.into_iter().map(|folder| Ok((class_name(folder)?, folder)));
    let mut classes = classes.by_ref().collect::<Result<Vec<_>, FolderError>>()?;
    if let Some(folder) = empty.next() {
        return Err(FolderError::EmptyClass(folder.path.clone()));
    }
    layout::check_subfolders(root)?;
    check_names(&classes)?;
    classes.sort_by(|(a, _), (b, _)| a.cmp(b));
    let labelled = |(class, folder): (String, &Folder)| {
        let image = move |path| LabelledImage { path, labels: vec![class.clone()], split, line: None };
        folder.all_images().into_iter().map(image)
    };
    Ok(classes.into_iter().flat_map(labelled).collect())
}

/// Name of the class of a folder, in the normal form NFC: systems write one name in several forms.
fn class_name(folder: &Folder) -> Result<String, FolderError> {
    let name = folder.name().to_str().ok_or_else(|| FolderError::NotUtf8(folder.path.clone()))?;
    Ok(nfc(name))
}

fn check_names(classes: &[(String, &Folder)]) -> Result<(), FolderError> {
    let mut known: HashMap<&str, &PathBuf> = HashMap::new();
    for (class, folder) in classes {
        if let Some(&first) = known.get(class.as_str()) {
            return Err(FolderError::SameName { first: first.clone(), second: folder.path.clone() });
        }
        known.insert(class, &folder.path);
    }
    Ok(())
}

/// Leaves out images that lie beside class folders.
fn strays(folder: &Folder, left_out: &mut LeftOut) {
    folder.images.iter().for_each(|path| left_out.add(path, LeftOutReason::NoClass));
}

#[cfg(test)]
mod tests;
