//! Temporary folder for installations, which are renamed into place when complete.
//!
//! A rename is atomic, so a folder with its final name is complete. A run that is killed leaves only its
//! temporary folder, which the next run removes.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = ".partial-";

/// A temporary folder inside `home`, with a lock on `home`.
pub struct Staging {
    folder: TempDir,
    home: PathBuf,
    // The system releases the lock when the process ends, also when it is killed.
    _lock: File,
}

impl Staging {
    /// Locks `home`, waiting for other runs, and removes the leftovers of killed ones.
    ///
    /// # Errors
    /// When `home` cannot be written.
    pub fn open(home: &Path) -> Result<Self> {
        Self::try_open(home).with_context(|| format!("cannot write into {}", home.display()))
    }

    fn try_open(home: &Path) -> Result<Self> {
        fs::create_dir_all(home)?;
        let lock = File::create(home.join(".lock"))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                println!("waiting for another run in {} to end", home.display());
                lock.lock()?;
            }
            other => other?,
        }
        for entry in fs::read_dir(home)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(home)?;
        Ok(Self { folder, home: home.to_owned(), _lock: lock })
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Creates the subfolder `name`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Renames `made` to `name` in the home folder, replacing an older folder.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn commit(&self, made: &Path, name: &str) -> Result<()> {
        let place = self.home.join(name);
        let old = self.folder.path().join(format!("{name}.old"));
        let swap = || {
            if place.exists() {
                fs::rename(&place, &old)?;
            }
            fs::rename(made, &place)
        };
        swap().with_context(|| format!("cannot move {} into place", place.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_commits_replace() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".partial-killed/torch/lib")).unwrap();
        fs::create_dir(home.path().join("torch")).unwrap();
        fs::write(home.path().join("torch/old"), "").unwrap();

        let staging = Staging::open(home.path()).unwrap();
        assert!(!home.path().join(".partial-killed").exists());

        let made = staging.folder("torch").unwrap();
        fs::write(made.join("new"), "").unwrap();
        staging.commit(&made, "torch").unwrap();
        assert!(home.path().join("torch/new").exists());
        assert!(!home.path().join("torch/old").exists());

        drop(staging);
        let left: Vec<_> =
            fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "torch" || name == ".lock"), "{left:?}");
    }

    #[test]
    fn a_second_run_waits_for_the_first() {
        let home = tempfile::tempdir().unwrap();
        let staging = Staging::open(home.path()).unwrap();
        let path = home.path().to_owned();
        let second = std::thread::spawn(move || Staging::open(&path).map(|_| ()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!second.is_finished());
        drop(staging);
        second.join().unwrap().unwrap();
    }
}
