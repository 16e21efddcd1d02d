//! Atomic replacement of files and folders: a reader never sees a half-written one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::TempDir;

/// Replaces a file as a whole: readers see the old content until the new one is complete and on disk.
///
/// # Errors
/// [`io::Error`] of the system or of `write`; the file at `path` is then unchanged.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    write_seekable_atomically(path, |out| write(out))
}

/// Replaces a file as [`write_atomically`] does; `write` can go back, to a header that depends on the content.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn write_seekable_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    let path = path.as_ref();
    let folder = folder_of(path)?;
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

/// Folder that is filled under a temporary name and then put in place as a whole; removed if it never is.
#[derive(Debug)]
pub struct StagedFolder(TempDir);

impl StagedFolder {
    /// Creates an empty folder in `parent`, in which the final one will be.
    ///
    /// # Errors
    /// [`io::Error`] of the system.
    pub fn new(parent: impl AsRef<Path>) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        builder.prefix(".").suffix(".tmp").tempdir_in(parent).map(Self)
    }

    /// Path of the folder while it is filled.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Renames the folder to `path`, in the same parent. A folder that is there is moved aside first, and then removed.
    ///
    /// # Errors
    /// [`io::Error`] of the system; the folder at `path` is then unchanged.
    pub fn replace(self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let parent = path.parent().unwrap_or(Path::new("."));
        let aside = tempfile::Builder::new().prefix(".").suffix(".old").tempdir_in(parent)?;
        let old = aside.path().join("old");
        let is_moved = match fs::rename(path, &old) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if let Err(error) = fs::rename(self.0.path(), path) {
            if is_moved {
                fs::rename(&old, path)?;
            }
            return Err(error);
        }
        let _ = self.0.keep(); // it has another name now, so that there is nothing to remove
        sync(parent);
        Ok(())
    }
}

/// Writes a folder to disk, so that a renamed file in it survives a power cut.
///
/// A failure is ignored: the content is safe already, and some systems cannot open folders.
fn sync(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Finds the folder that a file lies or will lie in, so that long work need not be done in vain.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when there is no such folder.
pub fn folder_of(path: &Path) -> io::Result<&Path> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The system's error would name the temporary file.
    match folder.is_dir() {
        true => Ok(folder),
        false => {
            let missing = format!("there is no folder {}", folder.display());
            Err(io::Error::new(io::ErrorKind::NotFound, missing))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
        let nowhere = write_atomically(folder.path().join("none/file"), |_| Ok(())).unwrap_err().to_string();
        assert!(nowhere.starts_with("there is no folder ") && nowhere.ends_with("/none"), "{nowhere}");
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("folder");
        for content in ["old", "new"] {
            let staged = StagedFolder::new(parent.path()).unwrap();
            fs::write(staged.path().join(content), content).unwrap();
            staged.replace(&path).unwrap();
        }
        let dropped = StagedFolder::new(parent.path()).unwrap();
        fs::write(dropped.path().join("never"), "").unwrap();
        drop(dropped);
        let names = |folder: &Path| -> Vec<_> {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!((names(parent.path()), names(&path)), (vec!["folder".into()], vec!["new".into()]));
    }

    #[cfg(unix)]
    #[test]
    fn others_can_read_what_is_written() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [plain, atomic] = ["plain", "atomic"].map(|name| folder.path().join(name));
        fs::write(&plain, "").unwrap();
        write_atomically(&atomic, |_| Ok(())).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&plain), mode(&atomic));
        let plain = folder.path().join("plain-folder");
        fs::create_dir(&plain).unwrap();
        assert_eq!(mode(&plain), mode(StagedFolder::new(folder.path()).unwrap().path()));
    }
}
