//! Layout of a data set in folders: split folders of class folders, or class folders alone.
//!
//! Names are not enough, since a class may be called `train`. A split folder holds class folders; a class folder holds
//! images.

use std::ffi::OsStr;

use super::tree::Folder;
use super::{FolderError, Split};
use crate::escape;
use crate::files::{LeftOut, LeftOutReason};

/// Names of folders that hold images of any class: a split folder with such a folder alone has no labels.
const ANY_CLASS: [&str; 9] =
    ["images", "image", "imgs", "img", "pictures", "photos", "unlabeled", "unlabelled", "unknown"];

/// Finds the split folders in `root`; empty when `root` itself holds the class folders.
///
/// Folders beside them are added to `left_out`.
pub(super) fn split_folders<'a>(
    root: &'a Folder,
    left_out: &mut LeftOut,
) -> Result<Vec<(Split, &'a Folder)>, FolderError> {
    let named: Vec<(Split, &Folder)> = root.folders.iter().filter_map(named).collect();
    let classes: Vec<&OsStr> = named.iter().flat_map(|(_, folder)| classes(folder)).collect();
    let is_labelled = |folder: &Folder| is_labelled(folder, &classes);
    let labelled: Vec<(Split, &Folder)> =
        named.iter().filter(|(_, folder)| is_labelled(folder)).copied().collect();
    let beside = |folder: &&&Folder| !named.iter().any(|(_, named)| named.path.starts_with(&folder.path));
    let with_images = root.with_images();
    let others: Vec<&Folder> = with_images.iter().filter(beside).copied().collect();
    let Some(&(split, folder)) = labelled.first() else {
        let unlabelled = others.is_empty() && !with_images.is_empty();
        return if unlabelled { Err(unlabelled_splits(root, &with_images)) } else { Ok(Vec::new()) };
    };
    let certain = others.is_empty() || named.iter().any(|(other, _)| *other != split);
    if !certain {
        return match folder.images.is_empty() {
            true => {
                Err(FolderError::Ambiguous { folder: folder.path.clone(), split, others: names(&others) })
            }
            false => Ok(Vec::new()),
        };
    }
    check_unique(&labelled)?;
    for (_, folder) in &named {
        if !folder.holds_images() {
            return Err(FolderError::NoImages { path: folder.path.clone() });
        }
    }
    let unlabelled = named.iter().map(|(_, folder)| *folder).filter(|folder| !is_labelled(folder));
    unlabelled.chain(others).for_each(|folder| left_out.add(&folder.path, LeftOutReason::NoSplit));
    Ok(labelled)
}

/// Split that a folder is named after, and the folder of its class folders: archives hold `seg_train/seg_train`.
fn named(folder: &Folder) -> Option<(Split, &Folder)> {
    let split: Split = folder.name().to_str()?.parse().ok()?;
    match &folder.with_images()[..] {
        [inner] if folder.images.is_empty() => match named(inner) {
            Some((same, inner)) if same == split => Some((split, inner)),
            _ => Some((split, folder)),
        },
        _ => Some((split, folder)),
    }
}

/// Names of the folders of images in a split folder, where there are several: they can only be classes.
fn classes(split: &Folder) -> Vec<&OsStr> {
    let folders = split.with_images();
    if folders.len() > 1 { folders.iter().map(|folder| folder.name()).collect() } else { Vec::new() }
}

/// Tells whether a folder holds class folders; a few images beside them are strays. `classes` are those of all splits.
fn is_labelled(folder: &Folder, classes: &[&OsStr]) -> bool {
    match &folder.with_images()[..] {
        [] => false,
        [only] => {
            let name = only.name().to_str().map(str::to_lowercase);
            let is_class = classes.contains(&only.name());
            folder.images.is_empty()
                && (is_class || name.is_none_or(|name| !ANY_CLASS.contains(&name.as_str())))
        }
        _ => true,
    }
}

fn check_unique(labelled: &[(Split, &Folder)]) -> Result<(), FolderError> {
    for (index, (split, folder)) in labelled.iter().enumerate() {
        if let Some((_, earlier)) = labelled[..index].iter().find(|(other, _)| other == split) {
            let (first, second) = (earlier.path.clone(), folder.path.clone());
            return Err(FolderError::SameSplit { split: *split, first, second });
        }
    }
    Ok(())
}

/// Refuses folders that all hold the same two or more subfolders, and no images directly.
pub(super) fn check_subfolders(root: &Folder) -> Result<(), FolderError> {
    let folders = root.with_images();
    let [first, others @ ..] = &folders[..] else { return Ok(()) };
    let mut inner = first.names();
    for folder in others {
        let names = folder.names();
        inner.retain(|name| names.contains(name));
    }
    if others.is_empty() || inner.len() < 2 || folders.iter().any(|folder| !folder.images.is_empty()) {
        return Ok(());
    }
    let inner = inner.iter().map(|name| escape::path(name).to_string()).collect();
    Err(FolderError::SameSubfolders { path: root.path.clone(), folders: names(&folders), inner })
}

fn unlabelled_splits(root: &Folder, folders: &[&Folder]) -> FolderError {
    FolderError::UnlabelledSplits { path: root.path.clone(), folders: names(folders) }
}

fn names(folders: &[&Folder]) -> Vec<String> {
    folders.iter().map(|folder| escape::path(folder.name()).to_string()).collect()
}
