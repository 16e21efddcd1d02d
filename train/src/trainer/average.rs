//! Exponential moving average of the weights (Polyak and Juditsky 1992; as timm's and TensorFlow's EMA).

use crate::error::TorchError;
use crate::params::Params;

/// Moving average of a network's parameters and statistics.
#[derive(Debug)]
pub(super) struct Average {
    params: Params,
    decay: f64,
}

impl Average {
    /// Begins with the values of `params`.
    pub fn new(params: &Params, decay: f64) -> Result<Self, TorchError> {
        Ok(Self { params: params.duplicate()?, decay })
    }

    /// Averaged values.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Moves towards `params`, faster in the first updates: a short run would keep its random weights otherwise.
    pub fn update(&self, params: &Params, updates: usize) -> Result<(), TorchError> {
        let decay = self.decay.min((1 + updates) as f64 / (10 + updates) as f64);
        let _guard = tch::no_grad_guard();
        for (name, tensor) in params.all() {
            if let Some(average) = self.params.get(name) {
                let _ = average.shallow_clone().f_lerp_(tensor, 1.0 - decay)?;
            }
        }
        Ok(())
    }
}
