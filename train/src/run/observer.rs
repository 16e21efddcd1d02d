//! Observers of a run: what they are told, and how they stop it.

use std::ops::ControlFlow;

use ferronnx_models::card::TemperatureScaling;

use super::{EvaluatedLabels, RunConfig, RunError, RunFolder, RunPlan, RunResult, Split};
use crate::data::duplicates::Duplicates;
use crate::data::images::ImageSet;
use crate::recipe::Phase;
use crate::temperature::TemperatureError;
use crate::trainer::{Epoch, Evaluation, PhaseRecord, Position, Progress};

/// Receives the events of a run.
///
/// Every method has a default that does nothing. A pair of observers is an observer. After a kill between an event and
/// the next saved state, the resumed run reports the event again.
///
/// # Errors
/// An error ends the run; wrap errors of your own in [`RunError::Observer`].
pub trait Observer {
    /// The run begins or goes on; no image has been read.
    ///
    /// # Errors
    /// Any error ends the run.
    fn started(&mut self, start: &Started<'_>) -> Result<(), RunError> {
        let _ = start;
        Ok(())
    }

    /// Shards are read once for the names and labels of their images, this many so far.
    fn listing(&mut self, images: usize) {
        let _ = images;
    }

    /// The images of a set are about to be read; the function returned is called after each, on several threads.
    fn reading(&mut self, split: Split, images: usize) -> Box<dyn Fn() + Send + Sync> {
        let _ = (split, images);
        Box::new(|| ())
    }

    /// A set has been read without `skipped` images that cannot be decoded; `Break` ends the run.
    fn read(&mut self, split: Split, skipped: usize) -> ControlFlow<()> {
        let _ = (split, skipped);
        ControlFlow::Continue(())
    }

    /// Files of equal content were found among the images in memory, or none; all of them are read.
    ///
    /// # Errors
    /// Any error ends the run.
    fn duplicates(&mut self, found: &Duplicates) -> Result<(), RunError> {
        let _ = found;
        Ok(())
    }

    /// All images are read, this many of each set, and the run folder exists.
    ///
    /// # Errors
    /// Any error ends the run.
    fn ready(&mut self, images: &[(Split, usize)]) -> Result<(), RunError> {
        let _ = images;
        Ok(())
    }

    /// Something about the classes that changes what is learned or selected, as a sentence for people.
    ///
    /// # Errors
    /// Any error ends the run.
    fn note(&mut self, note: &str) -> Result<(), RunError> {
        let _ = note;
        Ok(())
    }

    /// A phase begins, or a resumed run goes on in it.
    ///
    /// # Errors
    /// Any error ends the run.
    fn phase(&mut self, phase: &Phase, record: &PhaseRecord) -> Result<(), RunError> {
        let _ = (phase, record);
        Ok(())
    }

    /// The parameters were updated; `Break` saves the state and ends the run.
    fn step(&mut self, step: &Step) -> ControlFlow<()> {
        let _ = step;
        ControlFlow::Continue(())
    }

    /// An epoch was trained and validated; its state is saved next.
    ///
    /// # Errors
    /// Any error ends the run.
    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        let _ = epoch;
        Ok(())
    }

    /// The recipe has ended and the best weights are evaluated; `result.json` is written next.
    ///
    /// # Errors
    /// Any error ends the run.
    fn finished(&mut self, end: &Finished<'_>) -> Result<(), RunError> {
        let _ = end;
        Ok(())
    }
}

/// Beginning of a run, see [`Observer::started`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Started<'a> {
    /// Configuration of the run.
    pub config: &'a RunConfig,
    /// Folder of the run; a new one is created once the images are read.
    pub folder: &'a RunFolder,
    /// Tensors that were loaded, and parameters of each phase.
    pub plan: &'a RunPlan,
    /// Position that a resumed run goes on from.
    pub position: Option<&'a Position>,
}

/// Progress after a step, see [`Observer::step`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Step {
    /// Epoch under way, counted from 1.
    pub epoch: usize,
    /// Number of epochs of the recipe.
    pub epochs: usize,
    /// Number of training images.
    pub images: usize,
    /// Progress of the epoch.
    pub progress: Progress,
}

/// End of a run, see [`Observer::finished`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Finished<'a> {
    /// Content of `result.json`.
    pub result: &'a RunResult,
    /// Evaluated set: the test images, or the validation images where there are no test images.
    pub split: Split,
    /// Images of the evaluated set.
    pub set: &'a ImageSet,
    /// Evaluation of the best weights.
    pub evaluation: &'a Evaluation,
    /// Temperature fitted on the validation images, or the reason why there is none.
    pub temperature: &'a Result<TemperatureScaling, TemperatureError>,
    /// Thresholds and selected labels, in a multi-label task.
    pub labels: Option<&'a EvaluatedLabels>,
}

/// Calls a function after every epoch.
#[derive(Debug, Clone)]
pub struct EachEpoch<F>(pub F);

impl<F: FnMut(&Epoch)> EachEpoch<F> {
    /// Calls `f` after every epoch.
    pub fn new(f: F) -> Self {
        Self(f)
    }
}

impl<F: FnMut(&Epoch)> Observer for EachEpoch<F> {
    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        (self.0)(epoch);
        Ok(())
    }
}

/// Observes nothing.
impl Observer for () {}

impl<O: Observer> Observer for &mut O {
    fn started(&mut self, start: &Started<'_>) -> Result<(), RunError> {
        (**self).started(start)
    }

    fn listing(&mut self, images: usize) {
        (**self).listing(images);
    }

    fn reading(&mut self, split: Split, images: usize) -> Box<dyn Fn() + Send + Sync> {
        (**self).reading(split, images)
    }

    fn read(&mut self, split: Split, skipped: usize) -> ControlFlow<()> {
        (**self).read(split, skipped)
    }

    fn duplicates(&mut self, found: &Duplicates) -> Result<(), RunError> {
        (**self).duplicates(found)
    }

    fn ready(&mut self, images: &[(Split, usize)]) -> Result<(), RunError> {
        (**self).ready(images)
    }

    fn note(&mut self, note: &str) -> Result<(), RunError> {
        (**self).note(note)
    }

    fn phase(&mut self, phase: &Phase, record: &PhaseRecord) -> Result<(), RunError> {
        (**self).phase(phase, record)
    }

    fn step(&mut self, step: &Step) -> ControlFlow<()> {
        (**self).step(step)
    }

    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        (**self).epoch(epoch)
    }

    fn finished(&mut self, end: &Finished<'_>) -> Result<(), RunError> {
        (**self).finished(end)
    }
}

/// Tells both, the first one first; either may stop the run.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn started(&mut self, start: &Started<'_>) -> Result<(), RunError> {
        self.0.started(start)?;
        self.1.started(start)
    }

    fn listing(&mut self, images: usize) {
        self.0.listing(images);
        self.1.listing(images);
    }

    fn reading(&mut self, split: Split, images: usize) -> Box<dyn Fn() + Send + Sync> {
        let (first, second) = (self.0.reading(split, images), self.1.reading(split, images));
        Box::new(move || {
            first();
            second();
        })
    }

    fn read(&mut self, split: Split, skipped: usize) -> ControlFlow<()> {
        let first = self.0.read(split, skipped);
        either(first, self.1.read(split, skipped))
    }

    fn duplicates(&mut self, found: &Duplicates) -> Result<(), RunError> {
        self.0.duplicates(found)?;
        self.1.duplicates(found)
    }

    fn ready(&mut self, images: &[(Split, usize)]) -> Result<(), RunError> {
        self.0.ready(images)?;
        self.1.ready(images)
    }

    fn note(&mut self, note: &str) -> Result<(), RunError> {
        self.0.note(note)?;
        self.1.note(note)
    }

    fn phase(&mut self, phase: &Phase, record: &PhaseRecord) -> Result<(), RunError> {
        self.0.phase(phase, record)?;
        self.1.phase(phase, record)
    }

    fn step(&mut self, step: &Step) -> ControlFlow<()> {
        let first = self.0.step(step);
        either(first, self.1.step(step))
    }

    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        self.0.epoch(epoch)?;
        self.1.epoch(epoch)
    }

    fn finished(&mut self, end: &Finished<'_>) -> Result<(), RunError> {
        self.0.finished(end)?;
        self.1.finished(end)
    }
}

fn either(a: ControlFlow<()>, b: ControlFlow<()>) -> ControlFlow<()> {
    if a.is_break() { a } else { b }
}
