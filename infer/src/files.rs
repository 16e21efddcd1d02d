//! Files and folders: finding pictures, and writing so that no half-written file is ever seen.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, Result};

/// Extensions of pictures, in lower case.
pub const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "webp"];

/// Whether the extension is a picture's, in any case.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// The pictures in `dir` and the folders inside it, sorted by path. Hidden files and folders are left out, links
/// are followed.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Io`], naming the folder that cannot be read. A link to nowhere with a
/// picture's name is listed: its reader says what is wrong; other broken links are left out.
pub fn pictures_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let visible = |entry: &DirEntry| entry.depth() == 0 || !is_hidden(entry.path());
    let mut pictures = Vec::new();
    for entry in WalkDir::new(dir).follow_links(true).into_iter().filter_entry(visible) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_picture(entry.path()) => {
                pictures.push(entry.into_path());
            }
            Ok(_) => {}
            Err(error) => match broken_link(&error).filter(|path| *path != dir) {
                Some(path) if is_picture(path) && !is_hidden(path) => pictures.push(path.to_owned()),
                Some(_) => {}
                None => return Err(walk_error(dir, error)),
            },
        }
    }
    pictures.sort();
    Ok(pictures)
}

/// The link that leads nowhere, or to a folder above it.
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

/// Writes a file whole or not at all: readers see the old content until the new one is complete and on disk.
///
/// # Errors
/// Whatever the system or `write` says; `path` is as it was then.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The system's own words would name the temporary file.
    if !folder.is_dir() {
        let missing = format!("there is no folder {}", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, missing));
    }
    let mut builder = tempfile::Builder::new();
    // Temporary files are private to their owner unless told otherwise; the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".").suffix(".tmp").tempfile_in(folder)?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync(folder);
    Ok(())
}

/// A renamed file survives a power cut only once its folder is on disk too. Some systems cannot open folders, and
/// the content is safe by then: failing here helps nobody.
fn sync(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Whether `path` exists, with the reason when that cannot be known or it does not.
pub(crate) fn metadata(path: &Path) -> Result<fs::Metadata> {
    fs::metadata(path).map_err(|error| Error::io(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_pictures_sorted_and_leaves_out_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/2.PNG", "b/1.jpeg", "a.webp", "notes.txt", ".hidden.png", ".git/x.png", "b/noext"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = pictures_in(folder.path()).unwrap();
        let found: Vec<_> = found.iter().map(|path| path.strip_prefix(folder.path()).unwrap()).collect();
        assert_eq!(found, ["a.webp", "b/1.jpeg", "b/2.PNG"].map(Path::new));
        assert_eq!(pictures_in(&folder.path().join("none")).unwrap_err().kind(), "not_found");
    }

    #[test]
    fn a_hidden_folder_is_read_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let hidden = folder.path().join(".cache");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("x.png"), "").unwrap();
        assert_eq!(pictures_in(&hidden).unwrap().len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_the_readers_business() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x.png", "README", ".#y.png"] {
            std::os::unix::fs::symlink("nowhere", folder.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
        assert_eq!(pictures_in(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn replaces_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |out| {
            out.write_all(b"half of the new")?;
            Err(io::Error::other("no space"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no space");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = write_atomically(&folder.path().join("none/file"), |_| Ok(())).unwrap_err().to_string();
        assert!(nowhere.starts_with("there is no folder ") && nowhere.ends_with("/none"), "{nowhere}");
    }

    #[cfg(unix)]
    #[test]
    fn others_can_read_what_is_written() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [plain, atomic] = ["plain", "atomic"].map(|name| folder.path().join(name));
        fs::write(&plain, "").unwrap();
        write_atomically(&atomic, |_| Ok(())).unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(plain), mode(atomic));
    }
}
