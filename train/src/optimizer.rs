//! Adam and AdamW with a state that can be saved, so that training resumes to the same bits.
//!
//! Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019, arXiv:1711.05101. Steps are libtorch's fused
//! kernels. The state has PyTorch's names: `exp_avg`, `exp_avg_sq` and `step` of each parameter.

use ferronnx_models::Weights;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::TorchError;
use crate::native::{self, AdamOptions, AdamSlot};
use crate::params::{to_array, to_tensor};

/// Settings of the optimizer, with PyTorch's names and defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Algorithm, by its treatment of weight decay.
    pub name: Algorithm,
    /// Decay rates of the two moments.
    pub betas: [f64; 2],
    /// Term added to the root of the second moment.
    pub eps: f64,
    /// Weight decay: L2 penalty under Adam, share of each weight removed per step under AdamW (times the learning
    /// rate).
    pub weight_decay: f64,
}

/// Optimizer algorithm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Weight decay is a part of the gradient.
    #[default]
    Adam,
    /// Weight decay is decoupled from the gradient.
    AdamW,
}

impl Default for Settings {
    fn default() -> Self {
        Self { name: Algorithm::Adam, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 }
    }
}

/// A parameter with its state.
#[derive(Debug)]
struct Slot {
    name: String,
    group: usize,
    parameter: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    /// Step count `[]`, a float as libtorch wants it: exact for 16 million steps.
    step: Tensor,
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
        let slot = Slot {
            name: name.into(),
            group,
            parameter: parameter.shallow_clone(),
            exp_avg: parameter.f_zeros_like()?,
            exp_avg_sq: parameter.f_zeros_like()?,
            step: Tensor::f_zeros([], (Kind::Float, parameter.device()))?,
        };
        self.slots.push(slot);
        Ok(())
    }

    /// Parameters, in the order in which they were added.
    pub fn parameters(&self) -> Vec<&Tensor> {
        self.slots.iter().map(|slot| &slot.parameter).collect()
    }

    /// Sets all gradients to zero.
    pub fn zero_grad(&self) {
        for slot in &self.slots {
            slot.parameter.shallow_clone().zero_grad();
        }
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
    /// Nothing changes where `found_inf` `[1]` holds 1; nothing waits for the device.
    ///
    /// # Errors
    /// [`TorchError`] when libtorch fails.
    pub fn step(&mut self, rates: &[f64], found_inf: Option<&Tensor>) -> Result<(), TorchError> {
        let Settings { name, betas: [beta1, beta2], eps, weight_decay } = self.settings;
        for (group, &learning_rate) in rates.iter().enumerate() {
            let slots: Vec<AdamSlot<'_>> = self
                .slots
                .iter()
                .filter(|slot| slot.group == group)
                .map(|Slot { parameter, exp_avg, exp_avg_sq, step, .. }| AdamSlot {
                    parameter,
                    exp_avg,
                    exp_avg_sq,
                    step,
                })
                .collect();
            let decoupled = name == Algorithm::AdamW;
            let options = AdamOptions { learning_rate, beta1, beta2, weight_decay, eps, decoupled };
            native::adam(&slots, &options, found_inf)?;
        }
        Ok(())
    }

    /// Copies the state to memory: `PARAMETER.exp_avg`, `PARAMETER.exp_avg_sq` and `PARAMETER.step`.
    ///
    /// # Errors
    /// [`TorchError`] when libtorch fails.
    pub fn state(&self) -> Result<Weights, TorchError> {
        let parts = self.slots.iter().flat_map(|slot| {
            slot.parts().map(|(part, tensor)| Ok((format!("{}.{part}", slot.name), to_array(tensor)?)))
        });
        parts.collect()
    }

    /// Loads a state of the same parameters.
    ///
    /// # Errors
    /// [`StateError`] when a tensor is missing or has another shape.
    pub fn load_state(&mut self, state: &Weights) -> Result<(), StateError> {
        for slot in &self.slots {
            for (part, tensor) in slot.parts() {
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
}

impl Slot {
    fn parts(&self) -> [(&'static str, &Tensor); 3] {
        [("exp_avg", &self.exp_avg), ("exp_avg_sq", &self.exp_avg_sq), ("step", &self.step)]
    }
}
