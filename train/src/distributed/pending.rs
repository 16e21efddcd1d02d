//! Collectives that run in the background.

use std::sync::Arc;
use std::time::Duration;

use super::watcher::Watch;
use super::{DistributedError, Failure};
use crate::error::TorchError;
use crate::native::c10d::Work;

/// Time between two looks at the other ranks while a collective waits for them.
const LOOK: Duration = Duration::from_millis(500);

/// Collective that runs in the background; its tensor must not be read or written until it is waited for.
#[derive(Debug)]
#[must_use = "the tensor holds the result after `wait`"]
pub struct Pending(State);

#[derive(Debug)]
enum State {
    /// Gloo's work on other threads.
    Background { work: Work, watch: Arc<Watch>, action: &'static str },
    /// Work in the order of a GPU's stream, which needs no waiting.
    Queued,
}

impl Pending {
    pub(super) fn background(work: Work, watch: &Arc<Watch>, action: &'static str) -> Self {
        Self(State::Background { work, watch: Arc::clone(watch), action })
    }

    pub(super) fn queued() -> Self {
        Self(State::Queued)
    }

    /// Waits until all ranks took part, however long their other work takes.
    ///
    /// Results on a GPU are there for all that is launched later on the current stream.
    ///
    /// # Errors
    /// [`DistributedError::Failed`] when a rank failed or is lost; [`DistributedError::Engine`] when the collective failed
    /// and all ranks live.
    pub fn wait(self) -> Result<(), DistributedError> {
        let State::Background { work, watch, action } = self.0 else { return Ok(()) };
        loop {
            match work.wait(LOOK) {
                Ok(true) => return Ok(()),
                Ok(false) => failed(watch.failure())?,
                Err(source) => return Err(broken(&watch, action, source)),
            }
        }
    }
}

fn failed(failure: Option<&Failure>) -> Result<(), DistributedError> {
    failure.map_or(Ok(()), |failure| Err(DistributedError::Failed(failure.clone())))
}

/// Error of a collective that broke: mostly that of a rank which is gone, as the watcher finds out soon.
pub(super) fn broken(watch: &Watch, action: &'static str, source: TorchError) -> DistributedError {
    match watch.wait_for_failure() {
        Some(failure) => DistributedError::Failed(failure.clone()),
        None => DistributedError::engine(action)(source),
    }
}
