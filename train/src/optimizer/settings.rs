//! Settings of an optimizer: the `[optimizer]` table of a recipe.

use serde::{Deserialize, Serialize};

use crate::error::SettingError;

/// Settings of the optimizer, with PyTorch's names and defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Algorithm.
    pub name: Algorithm,
    /// SGD: share of the last step that is repeated; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub momentum: f64,
    /// SGD: momentum in Nesterov's form, which looks ahead.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nesterov: bool,
    /// Adam: decay rates of the two moments.
    pub betas: [f64; 2],
    /// Adam: term added to the root of the second moment.
    pub eps: f64,
    /// Weight decay: L2 penalty under SGD and Adam, share of each weight removed per step under AdamW (times the learning
    /// rate).
    pub weight_decay: f64,
    /// False if weight decay leaves out biases and the scales and shifts of norms: all parameters with one axis.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub decay_biases_and_norms: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Optimizer algorithm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Stochastic gradient descent, with or without momentum. Weight decay is a part of the gradient.
    Sgd,
    /// Adam. Weight decay is a part of the gradient.
    #[default]
    Adam,
    /// Adam with weight decay that is decoupled from the gradient.
    AdamW,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: Algorithm::Adam,
            momentum: 0.0,
            nesterov: false,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            decay_biases_and_norms: true,
        }
    }
}

impl Settings {
    /// SGD's momentum, or Adam's decay rate of the first moment.
    pub fn own_momentum(&self) -> f64 {
        match self.name {
            Algorithm::Sgd => self.momentum,
            Algorithm::Adam | Algorithm::AdamW => self.betas[0],
        }
    }

    /// Checks that every setting is in range.
    ///
    /// # Errors
    /// [`SettingError`] for the first setting that is not.
    pub fn check(&self) -> Result<(), SettingError> {
        SettingError::fraction(self.momentum, "optimizer.momentum")?;
        SettingError::fraction(self.betas[0], "optimizer.betas[0]")?;
        SettingError::fraction(self.betas[1], "optimizer.betas[1]")?;
        SettingError::positive(self.eps, "optimizer.eps")?;
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(SettingError::new("optimizer.weight_decay", "at least 0", self.weight_decay));
        }
        if self.name == Algorithm::Sgd && self.nesterov && self.momentum == 0.0 {
            let expected = "above 0 for Nesterov's form";
            return Err(SettingError::new("optimizer.momentum", expected, self.momentum));
        }
        Ok(())
    }
}
