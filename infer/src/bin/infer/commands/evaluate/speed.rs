//! Speed of an evaluation: the time to the first batch, and the rate once everything runs.

use std::time::{Duration, Instant};

use ferronnx_infer::Classifier;
use serde::Serialize;

/// Clock of an evaluation, which sees each image once.
pub(super) struct Clock {
    batch: usize,
    begun: Instant,
    images: usize,
    /// Time at which each batch was there, since `begun`.
    batches: Vec<Duration>,
}

impl Clock {
    /// Starts the clock of a classifier that is loaded.
    pub(super) fn start(classifier: &Classifier) -> Self {
        Self { batch: classifier.batch(), begun: Instant::now(), images: 0, batches: Vec::new() }
    }

    /// Counts an image; those of a batch come together.
    pub(super) fn see(&mut self) {
        if self.images.is_multiple_of(self.batch) {
            self.batches.push(self.begun.elapsed());
        }
        self.images += 1;
    }

    /// Images per second over all.
    fn rate(&self) -> f64 {
        self.images as f64 / self.begun.elapsed().as_secs_f64()
    }

    /// Images per second in the second half of the batches: none of them was decoded while the first ones waited for the
    /// device. None with fewer than four batches.
    fn steady(&self) -> Option<f64> {
        let middle = self.batches.len() / 2;
        let last = self.batches.last().filter(|_| self.batches.len() >= 4)?;
        let seconds = last.saturating_sub(self.batches[middle]).as_secs_f64();
        let images = self.images - self.batch * (middle + 1);
        (seconds > 0.0).then(|| images as f64 / seconds)
    }
}

/// Speed of an evaluation.
#[derive(Debug, Serialize)]
pub(super) struct Speed {
    batch: usize,
    start_seconds: Start,
    /// Rate from the first image to the last, without the library and the session.
    images_per_second: f64,
    /// Rate once everything runs; null with fewer than four batches.
    steady_images_per_second: Option<f64>,
}

/// Steps up to the first result, in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Start {
    library: f64,
    session: f64,
    first_batch: f64,
}

impl Speed {
    /// Reads the `clock` after the last image.
    pub(super) fn of(classifier: &Classifier, clock: &Clock) -> Self {
        let startup = classifier.session().startup();
        let first_batch = clock.batches.first().copied().unwrap_or_default();
        let [library, session, first_batch] =
            [startup.library, startup.session, first_batch].map(|time| time.as_secs_f64());
        Self {
            batch: clock.batch,
            start_seconds: Start { library, session, first_batch },
            images_per_second: clock.rate(),
            steady_images_per_second: clock.steady(),
        }
    }

    /// Text on the `device`.
    pub(super) fn text(&self, device: &str) -> String {
        let Start { library, session, first_batch } = self.start_seconds;
        let (start, then) = match self.steady_images_per_second {
            Some(steady) => (library + session + first_batch, steady),
            None => (library + session, self.images_per_second),
        };
        format!("start {start:.1} s, then {then:.1} images/s on {device} in batches of {}", self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(batch: usize, images: usize, seconds: &[u64]) -> Clock {
        let batches = seconds.iter().map(|&seconds| Duration::from_secs(seconds)).collect();
        Clock { batch, begun: Instant::now(), images, batches }
    }

    #[test]
    fn the_rate_of_the_second_half_leaves_the_start_out() {
        // Batches 3 and 4, of which the last has 4 images, came in the 6 seconds after batch 2.
        assert_eq!(clock(8, 36, &[50, 51, 52, 55, 58]).steady(), Some(2.0));
        assert_eq!(clock(8, 24, &[50, 51, 52]).steady(), None);
        assert_eq!(clock(8, 0, &[]).steady(), None);
    }

    #[test]
    fn batches_are_counted_by_their_first_image() {
        let mut clock = clock(3, 0, &[]);
        (0..7).for_each(|_| clock.see());
        assert_eq!((clock.images, clock.batches.len()), (7, 3));
    }
}
