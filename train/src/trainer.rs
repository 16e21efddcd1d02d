//! The training loop within a run: steps, epochs and phases of a recipe, resumable at any step.
//!
//! Random choices depend only on the seed, the epoch and the image or step. A [`Snapshot`] is therefore all that
//! training needs to go on to the same bits.

mod average;
mod error;
mod evaluate;
mod label_scores;
mod metrics;
mod plan;
mod precision;
mod snapshot;
mod step;
mod sweep;
mod team;
mod totals;

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferronnx_models::Module;
use indexmap::IndexMap;
use tch::{Device, Tensor};

use self::average::Average;
pub use self::error::TrainError;
pub(crate) use self::evaluate::evaluate_by;
pub use self::evaluate::{Evaluation, Prediction, evaluate, logits};
use self::label_scores::ValidationScores;
pub(crate) use self::label_scores::answers;
pub use self::label_scores::label_scores;
pub use self::metrics::{Epoch, EpochMetrics, Progress};
pub use self::plan::{PhaseRecord, Plan};
use self::precision::Scaler;
pub use self::precision::{Amp, ParseAmpError};
pub use self::snapshot::{Best, Position, Snapshot};
pub use self::sweep::Sweep;
use self::team::Team;
pub(crate) use self::team::exchange;
use self::totals::{NotFinite, Totals, Watch};
use crate::data::batches::Loader;
use crate::distributed::Group;
use crate::distributed::reducer::Reducer;
use crate::error::SettingError;
use crate::loss::{Loss, class_weights};
use crate::native;
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::recipe::{BestBy, Course, Phase, Recipe, RecipeFault};
use crate::recorder::Recorder;

/// Options of a trainer, besides its recipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// Seed of every random choice.
    pub seed: u64,
    /// Float type of mixed precision; `None` for full precision.
    pub amp: Option<Amp>,
    /// Names of the classes, in the order of the logits; only class weights of the recipe need them.
    pub labels: &'a [String],
    /// True if steps are recorded as CUDA graphs and replayed, on a GPU. Recipes that accumulate gradients are not.
    pub graphs: bool,
}

/// Trains a network through the phases of a recipe.
pub struct Trainer<'a, M> {
    network: &'a M,
    params: &'a Params,
    recipe: &'a Recipe,
    train: Loader<'a>,
    validation: Loader<'a>,
    new: &'a HashSet<String>,
    options: Options<'a>,
    loss: Loss,
    best: BestBy,
    position: Position,
    active: Option<Active>,
    average: Option<Average>,
    scaler: Option<Scaler>,
    /// Rates that replace those of the recipe.
    sweep: Option<Sweep>,
    recorder: Rc<Recorder>,
    /// Ranks that train together; `None` for a run of one process.
    team: Option<Team>,
    /// Time of the epoch under way in which no batch was ready.
    waited: Duration,
}

/// State of the phase under way.
struct Active {
    plan: Plan,
    optimizer: Optimizer,
    /// Adds gradients over the ranks.
    reducer: Option<Reducer>,
}

/// Updates between two reads of losses from the device.
const READ_EVERY: usize = 10;

impl<'a, M: Module> Trainer<'a, M> {
    /// Makes a trainer before its first step; `new` names the parameters that were not loaded.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] when the recipe does not fit the classes or the task of the
    /// images, [`TrainError::Torch`] when memory runs out.
    pub fn new(
        network: &'a M,
        params: &'a Params,
        recipe: &'a Recipe,
        [train, validation]: [Loader<'a>; 2],
        new: &'a HashSet<String>,
        options: Options<'a>,
    ) -> Result<Self, TrainError> {
        if matches!(params.device(), Device::Cuda(_)) {
            params.to_channels_last()?;
        }
        let average = recipe.ema.map(|decay| Average::new(params, decay)).transpose()?;
        let scaler = match options.amp {
            Some(Amp::Fp16) => Some(Scaler::new(precision::ScalerState::default(), params.device())?),
            _ => None,
        };
        let loss = loss(recipe, &train, options.labels, params.device())?;
        let best = BestBy::of(recipe.best, train.task()).map_err(RecipeFault::from)?;
        let train = train.sampling(recipe.sampling);
        let position = Position::start(recipe);
        let active = None;
        Ok(Self {
            network,
            params,
            recipe,
            train,
            validation,
            new,
            options,
            loss,
            best,
            position,
            active,
            average,
            scaler,
            sweep: None,
            recorder: Rc::new(Recorder::new(params.device(), options.graphs)),
            team: None,
            waited: Duration::ZERO,
        })
    }

    /// Trains together with the other ranks of `group`, each of which makes the same calls; parameters become those of the
    /// first rank.
    ///
    /// Each rank takes its [slice](Loader::slices) of every step, whose gradients are added over the ranks. Running
    /// statistics of batch norm are averaged over them after every batch, weighted by images; with `sync_bn` batch norm
    /// takes mean and variance of all ranks' images instead. Call it before anything else.
    ///
    /// # Errors
    /// [`TrainError::Distributed`] when a rank is missing.
    pub fn distributed(mut self, group: Arc<Group>, sync_bn: bool) -> Result<Self, TrainError> {
        let world = group.world();
        [self.train, self.validation] = [self.train, self.validation].map(|loader| loader.slices(world));
        self.position.ranks = world.size;
        let average = self.average.iter().flat_map(|average| average.params().all());
        let tensors: Vec<&Tensor> = self.params.all().chain(average).map(|(_, tensor)| tensor).collect();
        group.broadcast(&tensors, 0)?;
        self.team = Some(Team::new(group, sync_bn));
        Ok(self)
    }

    /// Number of ranks that train together.
    fn ranks(&self) -> usize {
        self.team.as_ref().map_or(1, |team| team.group.world().size)
    }

    /// Reason for which steps could not be recorded as a CUDA graph; told once.
    pub fn unrecorded(&self) -> Option<String> {
        self.recorder.refusal()
    }

    /// Number of CUDA graphs that were recorded so far.
    pub fn graphs(&self) -> usize {
        self.recorder.recorded()
    }

    /// Position in the recipe.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Parameters that are validated: the moving average, if the recipe asks for one.
    pub fn validated(&self) -> &Params {
        self.average.as_ref().map_or(self.params, Average::params)
    }

    /// Enters the phase of the next epoch; returns the phase, and its plan when it is entered just now. `None` at the
    /// end of the recipe.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] when the phase does not fit the network.
    pub fn enter(&mut self) -> Result<Option<(&Phase, Option<&Plan>)>, TrainError> {
        let Some(phase) = self.recipe.phases.get(self.position.phase) else { return Ok(None) };
        if self.active.is_some() {
            return Ok(Some((phase, None)));
        }
        let plan = Plan::new(self.params, &self.network.roles(), phase, self.recipe.frozen_bn, self.new)?;
        let optimizer = self.optimizer(&plan)?;
        let reducer =
            self.team.as_ref().map(|team| Reducer::new(Arc::clone(&team.group), &optimizer.parameters()));
        let active = self.active.insert(Active { plan, reducer: reducer.transpose()?, optimizer });
        Ok(Some((phase, Some(&active.plan))))
    }

    /// Makes an optimizer over the parameters that learn. Frozen ones get no gradient and no state.
    fn optimizer(&self, plan: &Plan) -> Result<Optimizer, TrainError> {
        let mut optimizer = Optimizer::new(self.recipe.optimizer);
        native::forget_gradients(&self.params.trainable().map(|(_, tensor)| tensor).collect::<Vec<_>>())?;
        let group: IndexMap<&str, usize> =
            plan.trained.iter().map(|(name, group)| (name.as_str(), *group)).collect();
        for (name, tensor) in self.params.trainable() {
            let tensor = tensor.f_set_requires_grad(group.contains_key(name))?;
            if let Some(&group) = group.get(name) {
                optimizer.add(name, &tensor, group)?;
            }
        }
        Ok(optimizer)
    }

    /// Trains to the end of the epoch and validates; `None` when `go_on` returned false: the next call goes on there.
    ///
    /// `go_on` is called after every update. Its numbers are read from the device every few updates only.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] and [`TrainError::Validation`] when a loss is not finite; others when images cannot
    /// be read or libtorch fails.
    pub fn epoch(&mut self, mut go_on: impl FnMut(Progress) -> bool) -> Result<Option<Epoch>, TrainError> {
        self.enter()?;
        let started = Instant::now();
        let done = self.train_epoch(&mut go_on);
        self.position.seconds += started.elapsed().as_secs_f64();
        if !done.map_err(|error| self.with_batch(error))? {
            return Ok(None);
        }
        let train_seconds = self.position.seconds;
        let started = Instant::now();
        let group = self.team.as_ref().map(|team| &*team.group);
        let validated = evaluate_by(group, self.network, self.validated(), self.validation);
        let validated = validated.map_err(|error| self.with_batch(error))?;
        if !validated.loss.is_finite() {
            let epoch = self.position.epoch + 1;
            return Err(TrainError::Validation { epoch, loss: validated.loss });
        }
        let seconds = train_seconds + started.elapsed().as_secs_f64();
        Ok(Some(self.complete(&validated, train_seconds, seconds)))
    }

    fn with_batch(&self, error: TrainError) -> TrainError {
        error.with_batch(self.recipe.batch_size, self.train.side(), self.options.amp)
    }

    /// Trains from the current step to the end of the epoch; false when `go_on` returned false.
    fn train_epoch(&mut self, go_on: &mut impl FnMut(Progress) -> bool) -> Result<bool, TrainError> {
        let recipe = self.recipe;
        let mut totals = Totals::new(&self.position.sums, self.ranks(), self.params.device())?;
        let mut watch = Watch::default();
        let mut progress = Progress { images: totals.images(), loss: f64::NAN, accuracy: f64::NAN };
        let train = self.train;
        let seed = self.options.seed;
        let steps = train.steps(recipe.batch_size);
        let (epoch, first) = (self.position.epoch, self.position.step);
        self.forget_gradients()?;
        let recorder = Rc::clone(&self.recorder);
        let batches = train.recorded(&recipe.augment, recipe.batch_size, seed, [epoch, first], recorder);
        let mut batches = batches.peekable();
        while let Some(batch) = batches.next() {
            let batch = batch?;
            let step = batch.step;
            let done = self.step(&batch, steps)?;
            totals.add(&done.sums, &batch)?;
            watch.keep(done.loss, step, &batch.indices);
            let group = step / recipe.accumulate;
            // The next batch is made while the device computes.
            let waiting = Instant::now();
            let next = batches.peek();
            self.waited += waiting.elapsed();
            if recipe.accumulate > 1 {
                if let Some(Ok(next)) = next
                    && next.step / recipe.accumulate == group
                {
                    continue;
                }
                self.update(step, steps)?;
            }
            self.position.step = step + 1;
            progress.images = totals.images();
            // Reading a number waits for the device.
            if self.sweep.is_some() || group.is_multiple_of(READ_EVERY) || progress.loss.is_nan() {
                self.check(&mut watch, &mut totals)?;
                (progress.loss, progress.accuracy) = totals.read()?.means();
            }
            if self.stops(!go_on(progress))? {
                self.check(&mut watch, &mut totals)?;
                self.position.sums = totals.read()?;
                return Ok(false);
            }
        }
        self.check(&mut watch, &mut totals)?;
        self.position.sums = totals.read()?;
        if self.position.sums.images == 0 {
            return Err(TrainError::NoImages);
        }
        Ok(true)
    }

    /// Course of the phase's learning rates, and the update that `step` of the epoch under way belongs to.
    fn course(&self, step: usize, steps: usize) -> (Course, usize) {
        let phase = &self.recipe.phases[self.position.phase];
        let updates = steps.div_ceil(self.recipe.accumulate);
        let update = self.position.phase_epoch * updates + step / self.recipe.accumulate;
        let course = Course {
            schedule: phase.schedule,
            cycle: self.recipe.cycle,
            warm_up: (phase.warm_up * updates as f64).round() as usize,
            steps: phase.epochs * updates,
        };
        (course, update)
    }

    /// Completes the epoch: metrics, best epoch, learning rates, and the next phase if this one ends.
    fn complete(&mut self, validated: &Evaluation, train_seconds: f64, seconds: f64) -> Epoch {
        let phase = &self.recipe.phases[self.position.phase];
        let steps = self.train.steps(self.recipe.batch_size);
        let (course, update) = self.course(steps.saturating_sub(1), steps);
        let rates = self.position.rates.at(&course, update);
        let names = phase.group_names().into_iter().map(Into::into);
        let sums = self.position.sums;
        let scores = ValidationScores::new(validated, &self.validation);
        let (train_loss, train_accuracy) = sums.means();
        let metrics = EpochMetrics {
            epoch: self.position.epoch + 1,
            phase: phase.name.clone(),
            learning_rates: names.zip(rates).collect(),
            train_loss,
            train_accuracy,
            validation_loss: validated.loss,
            validation_accuracy: validated.accuracy,
            validation_macro_f1: Some(scores.macro_f1),
            validation_map: scores.mean_average_precision,
            images_per_second: sums.images as f64 / train_seconds,
            seconds,
        };
        let waited = std::mem::take(&mut self.waited).as_secs_f64();
        let waiting = (!self.train.set().is_cached()).then(|| waited / train_seconds);
        let improved = self.position.best.improves(&metrics, self.best);
        let ended = self.position.advance(self.recipe, validated.loss);
        if ended.is_some() {
            self.leave_phase();
        }
        Epoch {
            metrics,
            improved,
            best_epoch: self.position.best.epoch,
            skipped: sums.skipped,
            waiting,
            stopped_early: ended == Some(true),
        }
    }

    /// Forgets the optimizer of a phase, and the steps that were recorded with it.
    fn leave_phase(&mut self) {
        self.recorder.clear();
        self.active = None;
    }

    /// Tells whether to stop because this rank wants to, or another one.
    fn stops(&mut self, stop: bool) -> Result<bool, TrainError> {
        self.team.as_mut().map_or(Ok(stop), |team| team.stops(stop))
    }

    /// Checks the losses since the last check, of all ranks, and completes the counts in `totals`.
    fn check(&mut self, watch: &mut Watch, totals: &mut Totals) -> Result<(), TrainError> {
        let mut found = watch.look()?;
        if let Some(team) = &mut self.team {
            found = team.meet(found, totals, READ_EVERY)?;
        }
        let Some(NotFinite { loss, step, indices }) = found else { return Ok(()) };
        Err(TrainError::Diverged {
            epoch: self.position.epoch + 1,
            step: step + 1,
            phase: self.recipe.phases[self.position.phase].name.clone(),
            loss,
            images: self.train.named(&indices),
        })
    }

    /// Copies everything that training needs to go on from here; waits for the device.
    ///
    /// # Errors
    /// [`TrainError::Torch`] when libtorch fails.
    pub fn snapshot(&self) -> Result<Snapshot, TrainError> {
        let mut position = self.position.clone();
        position.scaler = self.scaler.as_ref().map(Scaler::state).transpose()?;
        let optimizer = self.active.as_ref().map(|active| active.optimizer.state()).transpose()?;
        Ok(Snapshot {
            position,
            weights: self.params.to_weights()?,
            average: self.average.as_ref().map(|average| average.params().to_weights()).transpose()?,
            optimizer: optimizer.unwrap_or_default(),
        })
    }

    /// Goes on from a snapshot of the same run.
    ///
    /// # Errors
    /// [`TrainError::Groups`] or [`TrainError::State`] when it belongs to another run.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), TrainError> {
        self.params.assign_all(&snapshot.weights)?;
        if let (Some(average), Some(weights)) = (&self.average, &snapshot.average) {
            average.params().assign_all(weights)?;
        }
        if let (Some(scaler), Some(state)) = (&mut self.scaler, snapshot.position.scaler) {
            *scaler = Scaler::new(state, self.params.device())?;
        }
        self.position = snapshot.position.regrouped(self.recipe, self.ranks());
        self.leave_phase();
        let rates = self.recipe.phases.get(self.position.phase).map(Phase::rates);
        if rates.is_some_and(|rates| !self.position.rates.follow(rates)) {
            return Err(TrainError::Groups);
        }
        // Between two phases there is no optimizer yet.
        if !snapshot.optimizer.is_empty() {
            self.enter()?;
            if let Some(active) = &mut self.active {
                active.optimizer.load_state(&snapshot.optimizer)?;
            }
        }
        Ok(())
    }
}

/// Makes the loss of a recipe for the training images of `train`, whose classes are `labels`.
fn loss(recipe: &Recipe, train: &Loader<'_>, labels: &[String], device: Device) -> Result<Loss, TrainError> {
    let weights = recipe.loss.class_weights.as_ref().map(|weights| {
        let classes = train.set().samples().iter().flat_map(|sample| &sample.labels).max();
        if classes.is_some_and(|&last| last >= labels.len()) {
            let expected = "the names of all classes, where the loss has class weights";
            return Err(RecipeFault::from(SettingError::new("labels", expected, labels.len())).into());
        }
        let counts = train.set().class_counts(labels.len());
        let values = class_weights(weights, train.task(), labels, &counts, train.set().len())
            .map_err(RecipeFault::from)?;
        let values: Vec<f32> = values.into_iter().map(|weight| weight as f32).collect();
        let tensor = Tensor::f_from_slice(&values).and_then(|values| values.f_to_device(device));
        tensor.map_err(TrainError::from)
    });
    let weights = weights.transpose()?;
    Ok(Loss { gamma: recipe.loss.focusing(), smoothing: recipe.label_smoothing, weights })
}
