//! Adam and AdamW with a state that can be saved, so that a run can go on to the bit.
//!
//! Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019, arXiv:1711.05101. The steps are those of
//! libtorch's fused kernels, and the state has PyTorch's names: `exp_avg`, `exp_avg_sq` and `step` of each parameter.

use ferronnx_models::Weights;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::TorchError;
use crate::native::{self, AdamOptions, AdamSlot};
use crate::params::{to_array, to_tensor};

/// Settings of the optimizer, by PyTorch's names and with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What becomes of the weight decay.
    pub name: Algorithm,
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// L2 penalty under Adam, share of each weight that is taken off under AdamW (times the learning rate).
    pub weight_decay: f64,
}

/// The algorithm.
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

/// A parameter and its state.
#[derive(Debug)]
struct Slot {
    name: String,
    group: usize,
    parameter: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    /// `[]`, a float as libtorch wants it: exact for 16 million steps.
    step: Tensor,
}

/// Changes parameters by their gradients.
#[derive(Debug)]
pub struct Optimizer {
    settings: Settings,
    slots: Vec<Slot>,
}

/// Why a state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is of other parameters.
    #[error("the optimizer's state lacks {0}: it was saved by another phase or network")]
    Missing(String),
    /// It is of another shape.
    #[error("the optimizer's state of {0} has another shape")]
    Shape(String),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl Optimizer {
    /// No parameters yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, slots: Vec::new() }
    }

    /// Adds a parameter that learns at the rate of `group`.
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

    /// The parameters, in the order they were added.
    pub fn parameters(&self) -> Vec<&Tensor> {
        self.slots.iter().map(|slot| &slot.parameter).collect()
    }

    /// Sets all gradients to zero.
    pub fn zero_grad(&self) {
        for slot in &self.slots {
            slot.parameter.shallow_clone().zero_grad();
        }
    }

    /// Scales the gradients down to a norm of `max_norm` together.
    pub fn clip(&self, max_norm: f64) -> Result<(), TorchError> {
        native::clip_gradients(&self.parameters(), max_norm)
    }

    /// Moves every parameter that has a gradient; `rates` holds the learning rate of each group.
    ///
    /// Nothing moves where `found_inf` `[1]` holds 1, and the device need not be waited for to know.
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

    /// The state, by `PARAMETER.exp_avg`, `PARAMETER.exp_avg_sq` and `PARAMETER.step`.
    pub fn state(&self) -> Result<Weights, TorchError> {
        let parts = self.slots.iter().flat_map(|slot| {
            slot.parts().map(|(part, tensor)| Ok((format!("{}.{part}", slot.name), to_array(tensor)?)))
        });
        parts.collect()
    }

    /// Takes over a state of the same parameters.
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
