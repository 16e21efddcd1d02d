//! The loop over epochs: training, saving after each epoch, and the evaluation at the end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_models::Module;

use super::images::Sets;
use super::notes;
use super::observer::{Finished, Observer, Step};
use super::outcome::Evaluated;
use super::together::Together;
use super::{Outcome, RunConfig, RunError, RunFolder, RunResult, Split};
use crate::data::batches::Loader;
use crate::data::images::ImageSet;
use crate::params::Params;
use crate::task::Task;
use crate::trainer::{Epoch, Position, Snapshot, TrainError, Trainer};

/// Longest time between two saved states: a kill costs no more.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// Share of the time from which on waiting for images is worth a word.
const MUCH_WAITING: f64 = 0.2;

/// A run whose images are in memory.
pub(super) struct Session<'a, M> {
    pub config: &'a RunConfig,
    pub folder: &'a RunFolder,
    pub network: &'a M,
    pub params: &'a Params,
    pub sets: &'a Sets,
    pub preprocessor: &'a Preprocessor,
    pub together: Together<'a>,
}

/// End of one pass through [`Session::epoch`].
enum Pass {
    /// The epoch is complete, or its state was saved on the way.
    GoOn,
    /// An observer broke off in this epoch, counted from 1.
    Interrupted(usize),
    /// The recipe has no further epoch.
    Ended,
}

impl<M: Module> Session<'_, M> {
    /// Trains from the snapshot, or from the first step, to the end of the recipe.
    pub fn train(
        &self,
        new: &HashSet<String>,
        snapshot: Option<Snapshot>,
        observer: &mut impl Observer,
    ) -> Result<Outcome, RunError> {
        let Self { config, network, params, sets, .. } = *self;
        let loaders = [self.loader(&sets.train), self.loader(&sets.validation)];
        let options = config.trainer_options();
        let mut trainer = Trainer::new(network, params, &config.recipe, loaders, new, options)?;
        if let Some(group) = self.together.0 {
            trainer = trainer.distributed(Arc::clone(group), config.sync_bn)?;
        }
        if let Some(snapshot) = snapshot {
            trainer.restore(&snapshot)?;
        }
        loop {
            match self.epoch(&mut trainer, observer)? {
                Pass::GoOn => {}
                Pass::Interrupted(epoch) => return Ok(Outcome::Interrupted { epoch: Some(epoch) }),
                Pass::Ended => return Ok(Outcome::Finished(self.finish(trainer.position(), observer)?)),
            }
        }
    }

    /// Says that the device waits for images, after the first epoch.
    fn say_waiting(&self, trained: &Epoch, observer: &mut impl Observer) -> Result<(), RunError> {
        let much = trained.waiting.filter(|&share| trained.metrics.epoch == 1 && share > MUCH_WAITING);
        let Some(share) = much else { return Ok(()) };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        observer.note(&format!(
            "decoding images limits the speed: {:.0} % of the time went by waiting for them, with {cores} cores; smaller \
             images decode faster",
            100.0 * share
        ))
    }

    /// Trains one epoch and saves its state; a long epoch is left for saving, and entered again.
    fn epoch(&self, trainer: &mut Trainer<'_, M>, observer: &mut impl Observer) -> Result<Pass, RunError> {
        let Some((phase, plan)) = trainer.enter()? else { return Ok(Pass::Ended) };
        if let Some(plan) = plan {
            observer.phase(phase, &plan.record(&phase.name))?;
            for group in plan.empty_groups(phase) {
                observer
                    .note(&format!("no parameter that learns is in the group {group:?} of this phase"))?;
            }
        }
        let (epoch, epochs) = (trainer.position().epoch + 1, self.config.recipe.epochs());
        let images = self.sets.train.len();
        let saved = Instant::now();
        let mut interrupted = false;
        let trained = trainer.epoch(|progress| {
            interrupted = observer.step(&Step { epoch, epochs, images, progress }).is_break();
            !interrupted && saved.elapsed() < SAVE_EVERY
        });
        if let Some(reason) = trainer.unrecorded() {
            observer.note(&format!("steps run without CUDA graphs, and slower: {reason}"))?;
        }
        let Some(trained) = trained.map_err(|source| self.failed(source, epoch - 1))? else {
            self.folder.save_last(&trainer.snapshot()?)?;
            let interrupted = self.together.any(interrupted)?;
            return Ok(if interrupted { Pass::Interrupted(epoch) } else { Pass::GoOn });
        };
        // The state comes last: after a kill in between, the epoch is trained again to the same bits.
        if trained.improved {
            self.folder.save_best(&trainer.validated().to_weights()?)?;
        }
        self.folder.record(&trained.metrics)?;
        observer.epoch(&trained)?;
        self.say_waiting(&trained, observer)?;
        self.folder.save_last(&trainer.snapshot()?)?;
        Ok(Pass::GoOn)
    }

    /// Evaluates the best weights, on the test images where there are some, and writes the result.
    fn finish(&self, position: &Position, observer: &mut impl Observer) -> Result<RunResult, RunError> {
        let Self { config, folder, params, sets, .. } = *self;
        if folder.writes {
            let (weights, _) = folder.weights()?;
            params.assign_all(&weights)?;
        }
        self.together.broadcast(params)?;
        let evaluated = self.evaluated()?;
        let metrics = if folder.writes { folder.metrics()? } else { Vec::new() };
        let best = metrics.iter().find(|metrics| metrics.epoch == position.best.epoch);
        let result = evaluated.result(position, best, sets.train.len());
        let Evaluated { split, set, evaluation, labels, temperature, .. } = &evaluated;
        let (labels, split) = (labels.as_ref(), *split);
        if split == Split::Test {
            folder.write_predictions(&evaluated, config)?;
        }
        for note in labels.map(|labels| notes::thresholds(config, labels)).unwrap_or_default() {
            observer.note(&note)?;
        }
        observer.finished(&Finished { result: &result, split, set, evaluation, labels, temperature })?;
        folder.finish(&result)?;
        self.together.of_first(result)
    }

    pub(super) fn loader<'s>(&'s self, set: &'s ImageSet) -> Loader<'s> {
        let loader = Loader::new(set, self.preprocessor, self.params.device());
        match self.config.task {
            Task::SingleLabel => loader,
            Task::MultiLabel => loader.multi_label(self.config.labels.len()),
        }
    }

    /// Names the state to go back to when training fails.
    fn failed(&self, source: TrainError, epoch: usize) -> RunError {
        let last = self.folder.path("last");
        RunError::Train { last: last.is_dir().then_some((last, epoch)), source: source.into() }
    }
}
