//! Facts about a request that its handler finds out, for the log and the metrics.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::metrics::ModelMetrics;
use super::registry::Slot;

/// Facts about a request that its handler finds out, shared with those that log and count it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    model: OnceLock<Arc<ModelMetrics>>,
    images: AtomicUsize,
}

impl Record {
    /// Enters the model that answers.
    pub(crate) fn set_model(&self, slot: &Slot) {
        let _ = self.0.model.set(slot.metrics().clone());
    }

    /// Enters the number of images, or of rows of a tensor.
    pub(crate) fn set_images(&self, images: usize) {
        self.0.images.store(images, Ordering::Relaxed);
    }

    /// Metrics of the model that answers; none if there is no such model, or the request was refused before.
    pub(crate) fn model(&self) -> Option<&ModelMetrics> {
        self.0.model.get().map(|model| &**model)
    }

    /// Number of images, or of rows of a tensor; 0 before the request was read.
    pub(crate) fn images(&self) -> usize {
        self.0.images.load(Ordering::Relaxed)
    }
}
