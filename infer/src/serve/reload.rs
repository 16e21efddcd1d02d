//! Loading and replacing of models.

use std::fs::Metadata;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::app::App;
use super::engine::{Engine, LoadError, LoadOptions};
use super::registry::Slot;

/// Loads models into their slots, one after the other.
pub(crate) struct Reloader {
    app: Arc<App>,
    options: LoadOptions,
    /// Marks of the files that were loaded last, in the order of the slots.
    marks: Mutex<Vec<Option<Mark>>>,
}

/// Mark that changes when a file is replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// Numbers of the device and the file, where the system has them.
    identity: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
}

impl Mark {
    /// Mark of the file at `path`, with links followed; none if there is none.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let (length, modified) = (metadata.len(), metadata.modified().ok());
        Some(Self { identity: identity(&metadata), length, modified })
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

impl Reloader {
    pub(crate) fn new(app: Arc<App>, options: LoadOptions) -> Self {
        let marks = Mutex::new(vec![None; app.models.slots().len()]);
        Self { app, options, marks }
    }

    /// Loads all models.
    ///
    /// # Errors
    /// [`LoadError`] of the first that cannot be served.
    pub(crate) async fn load_all(&self) -> Result<(), LoadError> {
        let mut marks = self.marks.lock().await;
        for (slot, mark) in self.app.models.slots().iter().zip(marks.iter_mut()) {
            *mark = Mark::of(slot.path());
            self.load(slot).await?;
        }
        Ok(())
    }

    /// Loads all models again.
    pub(crate) async fn reload_all(&self) {
        let mut marks = self.marks.lock().await;
        for (slot, mark) in self.app.models.slots().iter().zip(marks.iter_mut()) {
            *mark = Mark::of(slot.path());
            self.replace(slot).await;
        }
    }

    /// Loads a model again when its file has changed and is the same at two looks, so that nobody is still writing it.
    pub(crate) async fn watch(&self, every: Duration) {
        let mut seen: Vec<Option<Mark>> = self.marks.lock().await.clone();
        loop {
            sleep(every).await;
            let mut marks = self.marks.lock().await;
            for ((slot, mark), seen) in self.app.models.slots().iter().zip(marks.iter_mut()).zip(&mut seen) {
                let now = Mark::of(slot.path());
                let is_stable = now == *seen;
                *seen = now;
                if now.is_some() && now != *mark && is_stable {
                    *mark = now;
                    self.replace(slot).await;
                }
            }
        }
    }

    /// Replaces a model; one that cannot be served is refused, and the old one stays.
    async fn replace(&self, slot: &Slot) {
        let (model, version) = (slot.name(), slot.version());
        match self.load(slot).await {
            Ok(()) => {
                self.app.metrics.reloaded(slot.metrics().labels(), true);
                tracing::info!(model, version, "the model was loaded again");
            }
            Err(error) => {
                self.app.metrics.reloaded(slot.metrics().labels(), false);
                let reason = crate::error::chain(&error);
                tracing::error!(model, version, reason, "the new file is refused, the old model stays");
            }
        }
    }

    async fn load(&self, slot: &Slot) -> Result<(), LoadError> {
        let (path, options, metrics) = (slot.path().to_owned(), self.options.clone(), slot.metrics().clone());
        let loading = tokio::task::spawn_blocking(move || Engine::load(&path, &options, metrics));
        slot.replace(loading.await.map_err(|_| LoadError::Internal(slot.path().into()))??);
        Ok(())
    }
}
