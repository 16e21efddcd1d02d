//! State that all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::admission::{self, Admission, Refusal};
use super::auth::ApiKeys;
use super::engine::Engine;
use super::failure::Failure;
use super::from_files::FromFiles;
use super::grpc::Health;
use super::metrics::{Metrics, ModelInfo};
use super::registry::{Registry, Slot};

/// State that all requests share.
pub(crate) struct App {
    pub(crate) models: Registry,
    pub(crate) admission: Admission,
    pub(crate) keys: Option<FromFiles<ApiKeys>>,
    /// Longest time for a request.
    pub(crate) timeout: Duration,
    pub(crate) phase: Phase,
    pub(crate) metrics: Metrics,
    /// Health service of gRPC, which follows the phase.
    pub(crate) health: Health,
}

/// Phase in the life of a server.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicU8);

impl Phase {
    const READY: u8 = 1;
    const STOPPING: u8 = 2;

    /// Tells whether requests are answered: all models are loaded, and the server is not stopping.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::READY
    }

    /// Tells whether the server is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::STOPPING
    }

    pub(crate) fn become_ready(&self) {
        let _ = self.0.compare_exchange(0, Self::READY, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn stop(&self) {
        self.0.store(Self::STOPPING, Ordering::Release);
    }
}

impl App {
    /// Finds the engine of a model; without a version, of the highest.
    ///
    /// # Errors
    /// [`Failure::NotFound`], or [`Failure::Unavailable`] while the model is loading.
    pub(crate) fn engine(&self, name: &str, version: Option<&str>) -> Result<(&Slot, Arc<Engine>), Failure> {
        let slot = self.models.find(name, version)?;
        Ok((slot, self.engine_of(slot)?))
    }

    /// Engine of a slot.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] while the model is loading.
    pub(crate) fn engine_of(&self, slot: &Slot) -> Result<Arc<Engine>, Failure> {
        slot.engine().ok_or(Failure::Unavailable("the model is being loaded"))
    }

    /// Deadline of a request that arrives now and asks for at most `wanted`.
    pub(crate) fn deadline(&self, wanted: Option<Duration>) -> Instant {
        Instant::now() + wanted.map_or(self.timeout, |wanted| wanted.min(self.timeout))
    }

    /// Failure for a request that is not admitted. The time after which to retry is the one in which what was accepted is
    /// answered, at the pace of the slowest model.
    pub(crate) fn refusal(&self, refusal: Refusal) -> Failure {
        match refusal {
            Refusal::TooLarge => admission::too_large(self.admission.max_body()),
            Refusal::TooMany(images) => {
                let most = self.admission.capacity();
                Failure::TooLarge(format!(
                    "{images} images, and this server takes at most {most} at once: send them in several requests"
                ))
            }
            Refusal::Full => {
                let engines = self.models.slots().iter().filter_map(Slot::engine);
                let pace = engines.filter_map(|engine| engine.time_per_row()).max().unwrap_or_default();
                let wait = pace * u32::try_from(self.admission.taken()).unwrap_or(u32::MAX);
                let seconds = wait.as_secs_f64().ceil().clamp(1.0, 60.0);
                Failure::Overloaded { retry_after: Duration::from_secs(seconds as u64) }
            }
        }
    }

    /// Text of the metrics.
    pub(crate) fn metrics_text(&self) -> String {
        let info = |slot: &Slot| {
            let engine = slot.engine()?;
            Some(ModelInfo {
                labels: slot.metrics().labels().clone(),
                provider: engine.classifier().session().provider(),
                sha256: engine.certificate().map_or_else(String::new, |found| found.sha256.clone()),
            })
        };
        let (queued, capacity) = (self.admission.taken(), self.admission.capacity());
        self.metrics.text(queued, capacity, self.models.slots().iter().filter_map(info))
    }

    /// Refuses work while models are being loaded. A server that is stopping answers what still comes over open connections.
    ///
    /// # Errors
    /// [`Failure::Unavailable`].
    pub(crate) fn check_loaded(&self) -> Result<(), Failure> {
        match self.phase.is_ready() || self.phase.is_stopping() {
            true => Ok(()),
            false => Err(Failure::Unavailable("the server is loading its models")),
        }
    }
}
