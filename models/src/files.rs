//! Atomic replacement of files and folders: a reader never sees a half-written one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

/// Replaces a file as a whole: readers see the old content until the new one is complete and on disk.
///
/// # Errors
/// [`io::Error`] of the system or of `write`; the file at `path` is then unchanged.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = StagedFile::new(path)?;
    write(&mut file)?;
    file.replace()
}

/// File that is written under a temporary name and then put in place as a whole; removed if it never is.
#[derive(Debug)]
pub struct StagedFile {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl StagedFile {
    /// Creates an empty file in the folder in which the file at `path` will be.
    ///
    /// # Errors
    /// [`io::Error`] of the system.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let mut builder = tempfile::Builder::new();
        // Temporary files are private to their owner unless told otherwise; the umask still applies.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.prefix(".").suffix(".tmp").tempfile_in(folder_of(path)?)?;
        Ok(Self { file: BufWriter::new(file), path: path.into() })
    }

    /// Writes the file to disk and gives it its name; a file of that name is replaced.
    ///
    /// # Errors
    /// [`io::Error`] of the system; the file of that name is then unchanged.
    pub fn replace(self) -> io::Result<()> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        sync(folder_of(&self.path)?);
        Ok(())
    }

    /// Writes the file to disk and gives it its name, unless there is a file of that name; tells whether it did.
    ///
    /// # Errors
    /// [`io::Error`] of the system.
    pub fn create(self) -> io::Result<bool> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&self.path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(error.error),
        }
        sync(folder_of(&self.path)?);
        Ok(true)
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for StagedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
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
