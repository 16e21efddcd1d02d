//! Optimizers with a state that can be saved, so that training resumes to the same bits: SGD, Adam and AdamW.
//!
//! Sutskever et al. 2013 (momentum and Nesterov's form of it, as PyTorch writes them); Kingma and Ba 2015,
//! arXiv:1412.6980; Loshchilov and Hutter 2019, arXiv:1711.05101. Steps are libtorch's fused kernels. The state has
//! PyTorch's names: `momentum_buffer`, or `exp_avg`, `exp_avg_sq` and `step`, of each parameter.

mod settings;

use ferronnx_models::Weights;
use tch::{Kind, Tensor};

pub use self::settings::{Algorithm, Settings};
use crate::error::TorchError;
use crate::native::{self, AdamOptions, AdamSlot, SgdOptions};
use crate::params::{to_array, to_tensor};

/// Parameter with its state.
#[derive(Debug)]
struct Slot {
    name: String,
    group: usize,
    /// True if weight decay applies to the parameter.
    decays: bool,
    parameter: Tensor,
    /// Tensors that [`state_names`] names, in its order.
    state: Vec<Tensor>,
}

/// Names of a parameter's state tensors, as in PyTorch.
fn state_names(algorithm: Algorithm) -> &'static [&'static str] {
    match algorithm {
        Algorithm::Sgd => &["momentum_buffer"],
        Algorithm::Adam | Algorithm::AdamW => &["exp_avg", "exp_avg_sq", STEP],
    }
}

/// Step count `[]`, a float as libtorch wants it: exact for 16 million steps. All other tensors have the parameter's
/// shape.
const STEP: &str = "step";

/// A learning rate or a momentum.
#[derive(Debug)]
enum Number {
    /// In the memory of the CPU.
    Host(f64),
    /// On the device, `[]`.
    Device(Tensor),
}

impl Number {
    /// The value; that of a tensor takes its place.
    fn host(&self) -> f64 {
        if let Self::Host(value) = self { *value } else { 0.0 }
    }

    fn device(&self) -> Option<&Tensor> {
        if let Self::Device(tensor) = self { Some(tensor) } else { None }
    }
}

/// Optimizer over named parameters in groups of learning rates.
#[derive(Debug)]
pub struct Optimizer {
    settings: Settings,
    slots: Vec<Slot>,
}

/// Errors of loading an optimizer's state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The state belongs to other parameters.
    #[error("the optimizer's state lacks {0}: it was saved by another phase or network")]
    Missing(String),
    /// A tensor has another shape.
    #[error("the optimizer's state of {0} has another shape")]
    Shape(String),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl Optimizer {
    /// Makes an optimizer without parameters.
    pub fn new(settings: Settings) -> Self {
        Self { settings, slots: Vec::new() }
    }

    /// Adds a parameter that learns at the rate of `group`.
    ///
    /// # Errors
    /// [`TorchError`] when memory runs out.
    pub fn add(&mut self, name: &str, parameter: &Tensor, group: usize) -> Result<(), TorchError> {
        let zeros = |part: &&str| match *part {
            STEP => Tensor::f_zeros([], (Kind::Float, parameter.device())),
            _ => parameter.f_zeros_like(),
        };
        let state = state_names(self.settings.name).iter().map(zeros).collect::<Result<_, _>>()?;
        // Biases, and scales and shifts of norms, are the parameters with one axis.
        let decays = self.settings.decay_biases_and_norms || parameter.dim() > 1;
        let parameter = parameter.shallow_clone();
        self.slots.push(Slot { name: name.into(), group, decays, parameter, state });
        Ok(())
    }

    /// Parameters, in the order in which they were added.
    pub fn parameters(&self) -> Vec<&Tensor> {
        self.slots.iter().map(|slot| &slot.parameter).collect()
    }

    /// Forgets all gradients: the next backward pass makes new ones.
    ///
    /// # Errors
    /// [`TorchError`] when libtorch fails.
    pub fn forget_gradients(&self) -> Result<(), TorchError> {
        native::forget_gradients(&self.parameters())
    }

    /// Scales the gradients down to a common norm of at most `max_norm`.
    ///
    /// # Errors
    /// [`TorchError`] when libtorch fails.
    pub fn clip(&self, max_norm: f64) -> Result<(), TorchError> {
        native::clip_gradients(&self.parameters(), max_norm)
    }

    /// Updates every parameter that has a gradient; `rates` holds the learning rate of each group.
    ///
    /// `momentum` replaces that of the settings (Adam's first decay rate), as cyclic schedules ask. Nothing changes
    /// where `found_inf` `[1]` holds 1; nothing waits for the device.
    ///
    /// # Errors
    /// [`TorchError`] when libtorch fails.
    pub fn step(
        &self,
        rates: &[f64],
        momentum: Option<f64>,
        found_inf: Option<&Tensor>,
    ) -> Result<(), TorchError> {
        let momentum = Number::Host(momentum.unwrap_or(self.settings.own_momentum()));
        let rates: Vec<_> = rates.iter().map(|&rate| Number::Host(rate)).collect();
        self.step_all(&rates, &momentum, found_inf)
    }

    /// Updates as [`step`](Self::step) does, by numbers that lie on the device: a recorded step finds new ones there.
    ///
    /// `rates` `[groups]` has 32 bits, as `momentum` `[]`, which only SGD without `found_inf` takes.
    ///
    /// # Errors
    /// [`TorchError`] when libtorch fails.
    pub(crate) fn step_on_device(
        &self,
        rates: &Tensor,
        momentum: Option<Tensor>,
        found_inf: Option<&Tensor>,
    ) -> Result<(), TorchError> {
        let rates = rates.f_unbind(0)?.into_iter().map(Number::Device).collect::<Vec<_>>();
        let momentum = momentum.map_or(Number::Host(self.settings.own_momentum()), Number::Device);
        self.step_all(&rates, &momentum, found_inf)
    }

    fn step_all(
        &self,
        rates: &[Number],
        momentum: &Number,
        found_inf: Option<&Tensor>,
    ) -> Result<(), TorchError> {
        for (group, rate) in rates.iter().enumerate() {
            for decays in [true, false] {
                self.step_part(group, decays, [rate, momentum], found_inf)?;
            }
        }
        Ok(())
    }

    /// Updates the parameters of a group that weight decay applies to, or those that it leaves out.
    fn step_part(
        &self,
        group: usize,
        decays: bool,
        [rate, momentum]: [&Number; 2],
        found_inf: Option<&Tensor>,
    ) -> Result<(), TorchError> {
        let Settings { name, nesterov, betas: [_, beta2], eps, weight_decay, .. } = self.settings;
        let weight_decay = if decays { weight_decay } else { 0.0 };
        let (learning_rate, momentum_value) = (rate.host(), momentum.host());
        let slots = self.slots.iter().filter(|slot| slot.group == group && slot.decays == decays);
        match name {
            Algorithm::Sgd => {
                let slots: Vec<_> = slots.map(|slot| (&slot.parameter, &slot.state[0])).collect();
                let options = SgdOptions { learning_rate, momentum: momentum_value, weight_decay, nesterov };
                native::sgd(&slots, &options, [rate.device(), momentum.device()], found_inf)
            }
            Algorithm::Adam | Algorithm::AdamW => {
                let slots: Vec<_> = slots
                    .map(|Slot { parameter, state, .. }| AdamSlot {
                        parameter,
                        exp_avg: &state[0],
                        exp_avg_sq: &state[1],
                        step: &state[2],
                    })
                    .collect();
                let decoupled = name == Algorithm::AdamW;
                let beta1 = momentum_value;
                let options = AdamOptions { learning_rate, beta1, beta2, weight_decay, eps, decoupled };
                native::adam(&slots, &options, rate.device(), found_inf)
            }
        }
    }

    /// Copies the state to memory, as `PARAMETER.momentum_buffer` or `PARAMETER.exp_avg`.
    ///
    /// # Errors
    /// [`TorchError`] when libtorch fails.
    pub fn state(&self) -> Result<Weights, TorchError> {
        let parts = self.slots.iter().flat_map(|slot| {
            self.parts(slot).map(|(part, tensor)| Ok((format!("{}.{part}", slot.name), to_array(tensor)?)))
        });
        parts.collect()
    }

    /// Loads a state of the same parameters.
    ///
    /// # Errors
    /// [`StateError`] when a tensor is missing or has another shape.
    pub fn load_state(&mut self, state: &Weights) -> Result<(), StateError> {
        for slot in &self.slots {
            for (part, tensor) in self.parts(slot) {
                let name = format!("{}.{part}", slot.name);
                let values = state.get(&name).ok_or_else(|| StateError::Missing(name.clone()))?;
                let values = to_tensor(values)?;
                if values.size() != tensor.size() {
                    return Err(StateError::Shape(name));
                }
                tensor.shallow_clone().f_copy_(&values).map_err(TorchError::from)?;
            }
        }
        Ok(())
    }

    fn parts<'s>(&self, slot: &'s Slot) -> impl Iterator<Item = (&'static str, &'s Tensor)> + use<'s> {
        state_names(self.settings.name).iter().copied().zip(&slot.state)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// Trains two parameters in two groups for some steps; with numbers of the device, or of the host.
    fn trained(settings: Settings, momentum: Option<f64>, on_device: bool) -> Vec<Tensor> {
        let mut optimizer = Optimizer::new(settings);
        let parameters: Vec<Tensor> = [[3_i64, 4], [2, 5]]
            .map(|shape| {
                let count: i64 = shape.iter().product();
                let values = Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.1 - 0.3;
                values.view(shape).set_requires_grad(true)
            })
            .into();
        for (group, parameter) in parameters.iter().enumerate() {
            optimizer.add(&format!("p{group}"), parameter, group).unwrap();
        }
        for step in 1..=20 {
            let loss = parameters.iter().map(|parameter| (parameter.sin() * parameter).sum(Kind::Float));
            loss.reduce(|a, b| a + b).unwrap().backward();
            let rates = [0.1 / f64::from(step), 0.05];
            let momentum = momentum.map(|momentum| momentum - 0.01 * f64::from(step));
            if on_device {
                let rates = Tensor::from_slice(&rates.map(|rate| rate as f32));
                let momentum = momentum.map(|momentum| Tensor::from(momentum as f32));
                optimizer.step_on_device(&rates, momentum, None).unwrap();
            } else {
                optimizer.step(&rates, momentum, None).unwrap();
            }
            optimizer.forget_gradients().unwrap();
        }
        parameters
    }

    #[test]
    fn numbers_of_the_device_are_those_of_the_host() {
        let sgd = |nesterov| Settings {
            name: Algorithm::Sgd,
            momentum: 0.9,
            nesterov,
            weight_decay: 0.01,
            ..Settings::default()
        };
        let adam = |name| Settings { name, weight_decay: 0.01, ..Settings::default() };
        let cases = [
            (sgd(true), Some(0.95)),
            (sgd(false), Some(0.95)),
            (sgd(true), None),
            (adam(Algorithm::Adam), None),
            (adam(Algorithm::AdamW), None),
        ];
        for (settings, momentum) in cases {
            let [host, device] = [false, true].map(|on_device| trained(settings, momentum, on_device));
            for (host, device) in host.iter().zip(&device) {
                let difference = (host - device).abs().max().double_value(&[]);
                assert!(difference < 1e-6, "{settings:?}: {difference}");
            }
        }
    }
}
