//! Search for image files in folders.

use std::path::{Path, PathBuf};
use std::{fs, io};

use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, Result};

/// File extensions of the image formats that are decoded, in lower case.
pub const EXTENSIONS: &[&str] = if cfg!(feature = "formats") {
    &["jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "webp"]
} else {
    &["jpg", "jpeg", "png", "bmp"]
};

/// Tells whether a file's extension is one of [`EXTENSIONS`], in upper or lower case.
pub fn is_image(path: impl AsRef<Path>) -> bool {
    let extension = path.as_ref().extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Lists the images in `dir` and its subfolders, sorted by path.
///
/// Hidden files and folders are left out, links are followed. A broken link with an image's name is listed, so that its
/// reader reports it; other broken links are left out.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) or [`Io`](crate::ErrorKind::Io), naming the folder that cannot be read.
pub fn images_in(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let dir = dir.as_ref();
    let visible = |entry: &DirEntry| entry.depth() == 0 || !is_hidden(entry.path());
    let mut images = Vec::new();
    for entry in WalkDir::new(dir).follow_links(true).into_iter().filter_entry(visible) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_image(entry.path()) => {
                images.push(entry.into_path());
            }
            Ok(_) => {}
            Err(error) => match broken_link(&error).filter(|path| *path != dir) {
                Some(path) if is_image(path) && !is_hidden(path) => images.push(path.to_owned()),
                Some(_) => {}
                None => return Err(walk_error(dir, error)),
            },
        }
    }
    images.sort();
    Ok(images)
}

/// Path of a link that leads nowhere, or to a folder above it.
fn broken_link(error: &walkdir::Error) -> Option<&Path> {
    error.path().filter(|path| path.is_symlink())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with('.'))
}

fn walk_error(dir: &Path, error: walkdir::Error) -> Error {
    let path = error.path().unwrap_or(dir).to_owned();
    Error::io(&path, error.into_io_error().unwrap_or_else(|| io::Error::other("the links form a loop")))
}

/// Reads the metadata of a file or folder; an error names it.
pub(crate) fn metadata(path: &Path) -> Result<fs::Metadata> {
    fs::metadata(path).map_err(|error| Error::io(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_images_sorted_and_leaves_out_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/2.PNG", "b/1.jpeg", "a.bmp", "notes.txt", ".hidden.png", ".git/x.png", "b/noext"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = images_in(folder.path()).unwrap();
        let found: Vec<_> = found.iter().map(|path| path.strip_prefix(folder.path()).unwrap()).collect();
        assert_eq!(found, ["a.bmp", "b/1.jpeg", "b/2.PNG"].map(Path::new));
        assert_eq!(images_in(folder.path().join("none")).unwrap_err().kind().name(), "not_found");
    }

    #[test]
    fn a_hidden_folder_is_read_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let hidden = folder.path().join(".cache");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("x.png"), "").unwrap();
        assert_eq!(images_in(&hidden).unwrap().len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_the_readers_business() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x.png", "README", ".#y.png"] {
            std::os::unix::fs::symlink("nowhere", folder.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
        assert_eq!(images_in(folder.path()).unwrap().len(), 1);
    }
}
