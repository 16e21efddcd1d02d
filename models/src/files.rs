//! Atomic replacement of files: a reader never sees a half-written file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Replaces a file as a whole: readers see the old content until the new one is complete and on disk.
///
/// # Errors
/// [`io::Error`] of the system or of `write`; the file at `path` is then unchanged.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let path = path.as_ref();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The system's error would name the temporary file.
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

/// Writes a folder to disk, so that a renamed file in it survives a power cut.
///
/// A failure is ignored: the content is safe already, and some systems cannot open folders.
fn sync(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
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
