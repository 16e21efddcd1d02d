//! The training loop, one epoch at a time.

use std::collections::HashSet;
use std::time::Instant;

use indexmap::IndexMap;
use models::Module;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use tch::{COptimizer, Kind, Reduction, Tensor};

use crate::data::batches::{Batch, Batches};
use crate::eager::{Eager, EagerError};
use crate::error::TorchError;
use crate::params::Params;
use crate::recipe::{FrozenBatchNorm, Phase, Recipe};

/// What an epoch came to: a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// Learning rate of each parameter group, by its name.
    pub learning_rates: IndexMap<String, f64>,
    /// Mean cross-entropy over the training pictures, in training mode.
    pub train_loss: f64,
    /// In [0, 1], in training mode.
    pub train_accuracy: f64,
    /// Mean cross-entropy over the validation pictures.
    pub validation_loss: f64,
    /// In [0, 1].
    pub validation_accuracy: f64,
    /// Training pictures per second, validation excluded.
    pub images_per_second: f64,
    /// The whole epoch, validation included.
    pub seconds: f64,
}

/// Where an epoch stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Pictures done.
    pub images: usize,
    /// Mean loss so far.
    pub loss: f64,
    /// Accuracy so far, in [0, 1].
    pub accuracy: f64,
}

/// What a network says of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Index of the most probable class.
    pub class: usize,
    /// Its probability.
    pub probability: f32,
}

/// What a network says of a set of pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy.
    pub loss: f64,
    /// In [0, 1].
    pub accuracy: f64,
    /// One a picture.
    pub predictions: Vec<Prediction>,
}

/// Why training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An operation of the network failed.
    #[error(transparent)]
    Eager(#[from] EagerError),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The recipe does not fit the network.
    #[error("{0}")]
    Recipe(String),
    /// The loss became infinite or not a number.
    #[error(
        "the loss is {loss} in epoch {epoch}: lower the learning rate of phase {phase:?} (the weights of earlier epochs are kept)"
    )]
    Diverged {
        /// Counted from 1.
        epoch: usize,
        /// Name of the phase.
        phase: String,
        /// The loss.
        loss: f64,
    },
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// What learns in a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Parameters that learn.
    pub trained: HashSet<String>,
    /// Parameters that do not change by a bit.
    pub frozen: HashSet<String>,
    /// Batch-norm layers whose statistics stand still.
    pub frozen_norms: HashSet<String>,
}

impl Plan {
    /// What `phase` means for `params`, of which `new` were not loaded.
    pub fn new(
        params: &Params,
        phase: &Phase,
        frozen_bn: FrozenBatchNorm,
        new: &HashSet<String>,
    ) -> Result<Self, TrainError> {
        let names: Vec<&str> = params.trainable().map(|(name, _)| name).collect();
        let trained = phase.trained(names.iter().copied(), new).map_err(TrainError::Recipe)?;
        if trained.is_empty() {
            let text =
                format!("phase {:?} trains nothing: no parameter matches {:?}", phase.name, phase.train);
            return Err(TrainError::Recipe(text));
        }
        let (trained, frozen): (HashSet<_>, HashSet<_>) =
            names.iter().map(|&name| name.to_owned()).partition(|name| trained.contains(name.as_str()));
        let stand_still = match frozen_bn {
            FrozenBatchNorm::Eval => true,
            FrozenBatchNorm::Train => false,
            FrozenBatchNorm::Auto => !new.contains("backbone.conv1.weight"),
        };
        let is_norm = |layer: &str| params.get(&format!("{layer}.running_mean")).is_some();
        let frozen_norms = frozen
            .iter()
            .filter_map(|name| name.strip_suffix(".weight"))
            .filter(|layer| stand_still && is_norm(layer))
            .map(Into::into)
            .collect();
        Ok(Self { trained, frozen, frozen_norms })
    }
}

/// Trains a network epoch by epoch, through the phases of a recipe.
pub struct Trainer<'a, M> {
    network: &'a M,
    params: &'a Params,
    recipe: &'a Recipe,
    train: Batches<'a>,
    validation: Batches<'a>,
    new: &'a HashSet<String>,
    seed: u64,
    current: Option<(usize, Plan, COptimizer)>,
}

impl<'a, M: Module> Trainer<'a, M> {
    /// A trainer before its first epoch; `new` names the parameters that were not loaded.
    pub fn new(
        network: &'a M,
        params: &'a Params,
        recipe: &'a Recipe,
        [train, validation]: [Batches<'a>; 2],
        new: &'a HashSet<String>,
        seed: u64,
    ) -> Self {
        Self { network, params, recipe, train, validation, new, seed, current: None }
    }

    /// Enters the phase of `epoch` (counted from 0) and says what learns there, if it is another than before.
    ///
    /// # Panics
    /// When the recipe has no such epoch.
    pub fn enter(&mut self, epoch: usize) -> Result<Option<(&Phase, &Plan)>, TrainError> {
        let index = self.recipe.phase_of(epoch).expect("an epoch of the recipe");
        if self.current.as_ref().is_some_and(|(current, ..)| *current == index) {
            return Ok(None);
        }
        let phase = &self.recipe.phases[index];
        let plan = Plan::new(self.params, phase, self.recipe.frozen_bn, self.new)?;
        let optimizer = self.optimizer(phase, &plan)?;
        let (_, plan, _) = self.current.insert((index, plan, optimizer));
        Ok(Some((phase, plan)))
    }

    /// A fresh Adam over what learns. What does not has no gradient, and no state that could move it.
    fn optimizer(&self, phase: &Phase, plan: &Plan) -> Result<COptimizer, TrainError> {
        let adam = self.recipe.adam;
        let [beta1, beta2] = adam.betas;
        let mut optimizer =
            COptimizer::adam(phase.learning_rate, beta1, beta2, adam.weight_decay, adam.eps, false)?;
        for (name, tensor) in self.params.trainable() {
            let learns = plan.trained.contains(name);
            let mut tensor = tensor.f_set_requires_grad(learns)?;
            tensor.zero_grad();
            if learns {
                optimizer.add_parameters(&tensor, 0)?;
            }
        }
        Ok(optimizer)
    }

    /// Trains one epoch (counted from 0) and validates; `None` when `go_on` said no.
    ///
    /// `go_on` is called after every step, with numbers that wait for the device only now and then.
    pub fn epoch(
        &mut self,
        epoch: usize,
        mut go_on: impl FnMut(Progress) -> bool,
    ) -> Result<Option<EpochMetrics>, TrainError> {
        self.enter(epoch)?;
        let Some((phase, plan, optimizer)) = &self.current else { return Ok(None) };
        let phase = &self.recipe.phases[*phase];
        let started = Instant::now();
        let eager = Eager::train(self.params, &plan.frozen_norms);
        let mut totals = Totals::default();
        let groups = self.train.shuffled(self.recipe.batch_size, self.seed, epoch);
        let mut progress = Progress { images: 0, loss: f64::NAN, accuracy: f64::NAN };
        for (step, indices) in groups.iter().enumerate() {
            let batch = self.train.augmented(indices, &self.recipe.augment, self.seed, epoch)?;
            let logits = self.network.forward(&eager, &batch.images)?;
            let loss = cross_entropy(&logits, &batch)?;
            optimizer.zero_grad()?;
            loss.f_backward()?;
            optimizer.step()?;
            totals.add(&loss.f_detach()?, &logits.f_detach()?, &batch)?;
            progress.images = totals.images;
            // Reading a number waits for the device.
            if step % READ_EVERY == 0 {
                (progress.loss, progress.accuracy) = totals.read()?;
                self.check_finite(progress.loss, epoch, phase)?;
            }
            if !go_on(progress) {
                return Ok(None);
            }
        }
        let (train_loss, train_accuracy) = totals.read()?;
        let train_seconds = started.elapsed().as_secs_f64();
        self.check_finite(train_loss, epoch, phase)?;
        let validated = evaluate(self.network, self.params, self.validation)?;
        Ok(Some(EpochMetrics {
            epoch: epoch + 1,
            phase: phase.name.clone(),
            learning_rates: IndexMap::from([("all".into(), phase.learning_rate)]),
            train_loss,
            train_accuracy,
            validation_loss: validated.loss,
            validation_accuracy: validated.accuracy,
            images_per_second: totals.images as f64 / train_seconds,
            seconds: started.elapsed().as_secs_f64(),
        }))
    }

    fn check_finite(&self, loss: f64, epoch: usize, phase: &Phase) -> Result<(), TrainError> {
        if loss.is_finite() {
            return Ok(());
        }
        Err(TrainError::Diverged { epoch: epoch + 1, phase: phase.name.clone(), loss })
    }
}

/// Steps between two looks at the numbers on the device.
const READ_EVERY: usize = 10;

/// Pictures at once where no gradient is needed.
const EVALUATION_BATCH: usize = 100;

fn cross_entropy(logits: &Tensor, batch: &Batch) -> Result<Tensor, TorchError> {
    Ok(logits.f_cross_entropy_loss::<Tensor>(&batch.labels, None, Reduction::Mean, -100, 0.0)?)
}

/// Sums that stay on the device until they are read.
#[derive(Default)]
struct Totals {
    images: usize,
    sums: Option<(Tensor, Tensor)>,
}

impl Totals {
    fn add(&mut self, loss: &Tensor, logits: &Tensor, batch: &Batch) -> Result<(), TorchError> {
        let loss = loss.f_mul_scalar(batch.len() as f64)?;
        let correct = logits.f_argmax(1, false)?.f_eq_tensor(&batch.labels)?.f_sum(Kind::Float)?;
        self.images += batch.len();
        self.sums = Some(match self.sums.take() {
            None => (loss, correct),
            Some((losses, corrects)) => (losses.f_add(&loss)?, corrects.f_add(&correct)?),
        });
        Ok(())
    }

    /// Mean loss and accuracy so far.
    fn read(&self) -> Result<(f64, f64), TorchError> {
        let Some((losses, corrects)) = &self.sums else { return Ok((f64::NAN, f64::NAN)) };
        let mean = |sum: &Tensor| Ok::<_, TorchError>(sum.f_double_value(&[])? / self.images as f64);
        Ok((mean(losses)?, mean(corrects)?))
    }
}

/// What the network says of a set, in evaluation mode and without gradients.
pub fn evaluate(
    network: &impl Module,
    params: &Params,
    batches: Batches<'_>,
) -> Result<Evaluation, TrainError> {
    let _guard = tch::no_grad_guard();
    let eager = Eager::eval(params);
    let mut totals = Totals::default();
    let mut predictions = Vec::with_capacity(batches.set.len());
    for indices in batches.in_order(EVALUATION_BATCH) {
        let batch = batches.plain(&indices)?;
        let logits = network.forward(&eager, &batch.images)?;
        totals.add(&cross_entropy(&logits, &batch)?, &logits, &batch)?;
        let (probabilities, classes) = logits.f_softmax(1, Kind::Float)?.f_max_dim(1, false)?;
        let classes = Vec::<i64>::try_from(&classes)?;
        let probabilities = Vec::<f32>::try_from(&probabilities)?;
        predictions.extend(
            classes
                .iter()
                .zip(probabilities)
                .map(|(&class, probability)| Prediction { class: class as usize, probability }),
        );
    }
    let (loss, accuracy) = totals.read()?;
    Ok(Evaluation { loss, accuracy, predictions })
}

/// Logits `[N, classes]` for images `[N, 3, H, W]`, in evaluation mode.
pub fn logits(network: &impl Module, params: &Params, images: &Tensor) -> Result<Array2<f32>, TrainError> {
    let _guard = tch::no_grad_guard();
    let logits = network
        .forward(&Eager::eval(params), &images.f_to_device(params.device()).map_err(TorchError::from)?)?;
    let array = crate::params::to_array(&logits)?;
    array
        .into_dimensionality()
        .map_err(|error| TrainError::Recipe(format!("the network's output is not a table: {error}")))
}
