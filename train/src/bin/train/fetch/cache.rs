//! Cache folder of downloads.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use etcetera::BaseStrategy;
use ferronnx_train::data::cifar::UNFINISHED;

/// Environment variable that replaces the platform's cache folder.
const VARIABLE: &str = "FERRONNX_CACHE";

/// Cache of entries that are complete or absent.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Finds the cache: `$FERRONNX_CACHE`, else `ferronnx` in the platform's cache folder.
    pub fn from_env() -> Result<Self> {
        if let Some(root) = env::var_os(VARIABLE).filter(|root| !root.is_empty()) {
            return Ok(Self::at(root.into()));
        }
        let platform = etcetera::base_strategy::choose_native_strategy()
            .with_context(|| format!("there is no home folder for the cache: set {VARIABLE} to a folder"))?;
        Ok(Self::at(platform.cache_dir().join("ferronnx")))
    }

    /// Uses the folder `root`, which need not exist yet.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Path of the entry `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Returns the folder `name`, which `make` makes if it is absent. One process makes entries at a time; others
    /// wait.
    pub fn entry(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path(name);
        if path.is_dir() {
            return Ok(path);
        }
        let _lock = self.lock().with_context(|| {
            format!("cannot use the cache {}: set {VARIABLE} to another folder", self.root.display())
        })?;
        if !path.is_dir() {
            self.sweep();
            make(&path)?;
        }
        Ok(path)
    }

    /// The lock is held until the file is dropped or the process ends.
    fn lock(&self) -> io::Result<File> {
        fs::create_dir_all(&self.root)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.path(".lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                crate::display::print_error(format_args!(
                    "waiting for another process that fills {}",
                    self.root.display()
                ));
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(file)
    }

    /// Removes what killed processes left behind, before anything is made. Errors are ignored: leftovers only take
    /// space.
    fn sweep(&self) {
        // Others may use the same folder: only our own names are removed.
        let [begin, end] = UNFINISHED;
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(begin) && name.ends_with(end)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use anyhow::bail;

    use super::*;

    #[test]
    fn an_entry_is_made_once_however_many_ask() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("deep/cache"));
        let made = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let entry = cache.entry("x", |path| {
                        made.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                        Ok(fs::create_dir(path)?)
                    });
                    assert_eq!(entry.unwrap(), cache.path("x"));
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn what_failed_is_tried_again_and_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().into());
        let left = cache.path(".cifar10-abc.tmp");
        fs::create_dir_all(left.join("train")).unwrap();
        let others = cache.path("experiment.tmp");
        fs::create_dir(&others).unwrap();
        assert!(cache.entry("x", |_| bail!("no")).is_err());
        assert!(!left.exists());
        assert!(others.exists(), "not ours");
        assert!(cache.entry("x", |path| Ok(fs::create_dir(path)?)).is_ok());
    }

    #[test]
    fn a_cache_that_cannot_be_is_named_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = Cache::at(dir.path().join("file/cache")).entry("x", |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("file/cache: set FERRONNX_CACHE to another folder"), "{error}");
    }
}
