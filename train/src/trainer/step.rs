//! One training step: forward pass, loss, backward pass, and the update of the parameters.
//!
//! On a GPU the numbers of an update (learning rates, momentum, weight of the moving average) lie on the device, so that
//! a step is the same work each time, whether it is [recorded](crate::recorder) or not.

use std::sync::Arc;

use ferronnx_models::Module;
use tch::{Device, Kind, Tensor};

use super::team::Tally;
use super::totals::batch_sums;
use super::{Active, Plan, TrainError, Trainer};
use crate::data::batches::{Batch, Targets};
use crate::eager::Eager;
use crate::native;
use crate::optimizer::{Algorithm, Optimizer};
use crate::params::copied;
use crate::recipe::Recipe;

/// Results of a step that stay on the device.
pub(super) struct Done {
    /// Mean loss of the batch, `[]`.
    pub loss: Tensor,
    /// Sum of losses and number of correct predictions, `[2]`.
    pub sums: Tensor,
}

/// Numbers of one update.
struct Numbers {
    /// Learning rate of each group.
    rates: Vec<f64>,
    momentum: Option<f64>,
    /// Numbers from which masks of dropout are made.
    draws: [f32; 2],
    /// Weight of the parameters in their moving average.
    average: Option<f64>,
}

impl Numbers {
    /// Packs all numbers for the device.
    fn packed(&self) -> Result<Tensor, tch::TchError> {
        let rates = self.rates.iter().chain(&self.momentum).map(|&number| number as f32);
        let average = self.average.iter().map(|&number| number as f32);
        Tensor::f_from_slice(&rates.chain(self.draws).chain(average).collect::<Vec<_>>())
    }

    /// The draws among the packed numbers.
    fn packed_draws(&self, packed: &Tensor) -> Result<Tensor, tch::TchError> {
        let before = self.rates.len() + usize::from(self.momentum.is_some());
        packed.f_narrow(0, before as i64, self.draws.len() as i64)
    }
}

impl<M: Module> Trainer<'_, M> {
    /// Trains on a batch; the parameters change unless gradients are accumulated.
    pub(super) fn step(&mut self, batch: &Batch, steps: usize) -> Result<Done, TrainError> {
        let numbers = self.numbers(batch.step, steps);
        let draws = || native::upload(&Tensor::f_from_slice(&numbers.draws)?, self.params.device());
        let backward =
            |last| self.backward(&batch.images, &batch.targets(), self.weight(batch), &draws()?, last);
        if self.recipe.accumulate > 1 {
            return backward(self.ends_update(batch.step, steps)).map(done);
        }
        let done = match self.params.device() {
            Device::Cuda(_) => self.step_on_device(batch, &numbers)?,
            _ => {
                let results = backward(true)?;
                self.change(&numbers, None)?;
                done(results)
            }
        };
        self.position.updates += 1;
        Ok(done)
    }

    /// Runs a step whose numbers lie on the device: recorded, if it can be.
    fn step_on_device(&self, batch: &Batch, numbers: &Numbers) -> Result<Done, TrainError> {
        let weight = self.weight(batch);
        let mut inputs = vec![
            native::upload(&numbers.packed()?, self.params.device())?,
            crate::params::channels_last(&batch.images)?,
            batch.labels.shallow_clone(),
        ];
        if let Some(mixed) = &batch.mixed {
            inputs.extend([mixed.labels.shallow_clone(), mixed.shares.shallow_clone()]);
        }
        let body = |inputs: &[Tensor]| -> Result<Vec<Tensor>, TrainError> {
            self.forget_gradients()?;
            let mixed = inputs.get(3).zip(inputs.get(4)).map(|(labels, shares)| [labels, shares]);
            let draws = numbers.packed_draws(&inputs[0])?;
            let results =
                self.backward(&inputs[1], &Targets { labels: &inputs[2], mixed }, weight, &draws, true)?;
            self.change(numbers, Some(&inputs[0]))?;
            Ok(results.into())
        };
        let made = match self.can_be_recorded(numbers) && self.ranks_record_together() {
            // The loss is scaled by this number.
            true => self.recorder.call("step", &[weight.to_bits().cast_signed()], &inputs, body)?,
            false => body(&inputs)?,
        };
        if self.ranks() > 1
            && let Some(reason) = self.recorder.refusal()
        {
            return Err(TrainError::Unrecorded(reason));
        }
        // The next step overwrites them.
        Ok(Done { loss: copied(&made[0])?, sums: copied(&made[1])? })
    }

    /// True if all numbers of an update can lie on the device: libtorch's Adam takes its momentum from the CPU, and
    /// SGD with a momentum of the device cannot leave out a step.
    fn can_be_recorded(&self, numbers: &Numbers) -> bool {
        numbers.momentum.is_none() || (self.recipe.optimizer.name == Algorithm::Sgd && self.scaler.is_none())
    }

    /// True if all ranks record the same steps, as NCCL demands. Where images are left out, ranks come to the same step with
    /// batches of different sizes, each of which is recorded after a few of its own.
    fn ranks_record_together(&self) -> bool {
        self.ranks() == 1 || !self.train.set().skips_bad()
    }

    /// Weight of a batch in the gradients of its update: every image has the same, in a smaller last batch and in all ranks
    /// too.
    fn weight(&self, batch: &Batch) -> f64 {
        let Recipe { accumulate, batch_size, .. } = *self.recipe;
        let step_size = self.train.step_size(batch_size);
        let first = (batch.step - batch.step % accumulate) * step_size;
        let images = (accumulate * step_size).min(self.train.used(batch_size) - first);
        batch.len() as f64 / images as f64
    }

    /// True if the parameters are updated after this step of the epoch.
    fn ends_update(&self, step: usize, steps: usize) -> bool {
        (step + 1).is_multiple_of(self.recipe.accumulate) || step + 1 == steps
    }

    /// Adds the gradients of images `[N, C, H, W]`; returns their loss `[]`, and the sums `[2]` of all ranks. `draws` `[2]` are
    /// for dropout. The `last` batch of an update adds the gradients over the ranks.
    fn backward(
        &self,
        images: &Tensor,
        targets: &Targets<'_>,
        weight: f64,
        draws: &Tensor,
        last: bool,
    ) -> Result<[Tensor; 2], TrainError> {
        let Some(Active { plan, reducer, .. }) = &self.active else { return Err(TrainError::Ended) };
        let reducer = reducer.as_ref().filter(|_| last);
        let images = match self.params.device() {
            Device::Cuda(_) => crate::params::channels_last(images)?,
            _ => images.shallow_clone(),
        };
        let logits = {
            let _short = self.options.amp.map(|amp| amp.enter(self.params.device())).transpose()?;
            self.network.forward(&self.eager(plan).with_draws(draws), &images)?
        };
        let logits = logits.f_to_kind(Kind::Float)?;
        let loss = match images.size()[0] {
            // The mean of no images is no number.
            0 => logits.f_sum(Kind::Float)?,
            _ => self.loss.mean(&logits, targets)?,
        };
        let tally = self.tally(&loss, &logits, targets)?;
        let scaled = loss.f_mul_scalar(weight)?;
        if let Some(reducer) = reducer {
            reducer.begin();
        }
        match &self.scaler {
            Some(scaler) => scaler.scaled(&scaled)?.f_backward()?,
            None => scaled.f_backward()?,
        }
        if let Some(reducer) = reducer {
            reducer.finish()?;
        }
        let loss = loss.f_detach()?;
        let sums = match tally {
            Some(tally) => tally.finish()?,
            None => batch_sums(&loss, &logits.f_detach()?, targets)?,
        };
        Ok([loss, sums])
    }

    fn eager<'e>(&'e self, plan: &'e Plan) -> Eager<'e> {
        let eager = Eager::train(self.params, &plan.frozen_norms);
        match &self.team {
            Some(team) if team.sync_bn => eager.synchronised(Arc::clone(&team.group)),
            _ => eager,
        }
    }

    /// Begins to add the sums of a batch over the ranks, while its backward pass goes on.
    fn tally(
        &self,
        loss: &Tensor,
        logits: &Tensor,
        targets: &Targets<'_>,
    ) -> Result<Option<Tally>, TrainError> {
        let Some(team) = &self.team else { return Ok(None) };
        let (loss, logits) = (loss.f_detach()?, logits.f_detach()?);
        let sums = batch_sums(&loss, &logits, targets)?;
        Ok(Some(team.tally(self.params, logits.size()[0] as usize, &sums)?))
    }

    pub(super) fn forget_gradients(&self) -> Result<(), TrainError> {
        let active = self.active.as_ref();
        Ok(active.map_or(Ok(()), |active| active.optimizer.forget_gradients())?)
    }

    /// Updates the parameters by the gradients of the steps up to `step`.
    pub(super) fn update(&mut self, step: usize, steps: usize) -> Result<(), TrainError> {
        let numbers = self.numbers(step, steps);
        let on_device = match self.params.device() {
            device @ Device::Cuda(_) => Some(native::upload(&numbers.packed()?, device)?),
            _ => None,
        };
        self.change(&numbers, on_device.as_ref())?;
        self.position.updates += 1;
        Ok(())
    }

    /// Numbers of the update that `step` of the epoch under way belongs to.
    fn numbers(&self, step: usize, steps: usize) -> Numbers {
        let (course, update) = self.course(step, steps);
        let (rates, momentum) = match &self.sweep {
            Some(sweep) => {
                (sweep.rates(&self.recipe.phases[self.position.phase], self.position.updates), None)
            }
            None => (self.position.rates.at(&course, update), course.momentum(update)),
        };
        let updates = self.position.updates + 1;
        let rank = self.team.as_ref().map_or(0, |team| team.group.world().rank);
        let draws = crate::data::random::dropout(self.options.seed, self.position.epoch, step, rank);
        let average = self.average.as_ref().map(|average| average.weight(updates));
        Numbers { rates, momentum, draws, average }
    }

    /// Changes the parameters by their gradients, and then forgets these. Where the numbers lie `on_device` too, they are
    /// taken from there.
    fn change(&self, numbers: &Numbers, on_device: Option<&Tensor>) -> Result<(), TrainError> {
        let Some(Active { optimizer, .. }) = &self.active else { return Err(TrainError::Ended) };
        let overflow = match &self.scaler {
            Some(scaler) => Some(scaler.unscale(&optimizer.parameters())?),
            None => None,
        };
        if let Some(norm) = self.recipe.clip_norm {
            optimizer.clip(norm)?;
        }
        match on_device {
            Some(packed) if self.can_be_recorded(numbers) => {
                let momentum = numbers.momentum.is_some();
                step_on_device(optimizer, packed, numbers.rates.len(), momentum, overflow)?;
            }
            _ => optimizer.step(&numbers.rates, numbers.momentum, overflow)?,
        }
        if let Some(scaler) = &self.scaler {
            scaler.update()?;
        }
        optimizer.forget_gradients()?;
        if let (Some(average), Some(weight)) = (&self.average, numbers.average) {
            match on_device {
                Some(packed) => average.update_on_device(self.params, &packed.f_select(0, -1)?)?,
                None => average.update(self.params, weight)?,
            }
        }
        Ok(())
    }
}

fn done([loss, sums]: [Tensor; 2]) -> Done {
    Done { loss, sums }
}

/// Steps by the first `groups` of the packed numbers, and by the one after them if it is a momentum.
fn step_on_device(
    optimizer: &Optimizer,
    packed: &Tensor,
    groups: usize,
    has_momentum: bool,
    overflow: Option<&Tensor>,
) -> Result<(), TrainError> {
    let groups = groups as i64;
    let momentum = if has_momentum { Some(packed.f_select(0, groups)?) } else { None };
    Ok(optimizer.step_on_device(&packed.f_narrow(0, 0, groups)?, momentum, overflow)?)
}
