//! Losses: cross-entropy and focal loss, for one label or several labels an image, with class weights.
//!
//! | task | `cross-entropy` | `focal` (Lin et al. 2017, arXiv:1708.02002) |
//! |---|---|---|
//! | one label | softmax cross-entropy | softmax cross-entropy, times (1 - p)^gamma for each class |
//! | several labels | binary cross-entropy of each class, mean over images and classes | the same, with (1 - p)^gamma |
//!
//! Class weights multiply the loss of a class, and the mean over a batch is weighted, as in PyTorch. For several labels
//! they weight the images that have the class (`pos_weight`). Targets may be smoothed, and mixed by mixup or cutmix.

mod settings;
mod weights;

use tch::{Kind, Reduction, Tensor};

pub use self::settings::{ClassWeights, LossName, LossSettings, ParseWeightsError};
pub use self::weights::{WeightsError, class_weights};
use crate::data::batches::Targets;
use crate::error::TorchError;

/// Loss that training minimises.
#[derive(Debug, Default)]
pub struct Loss {
    /// Exponent of the focal loss; `None` for cross-entropy.
    pub gamma: Option<f64>,
    /// Share of the target that is spread over all classes; in a multi-label task, over right and wrong.
    pub smoothing: f64,
    /// Weight of each class, `[classes]`, on the device.
    pub weights: Option<Tensor>,
}

impl Loss {
    /// Computes the mean loss `[]` of `logits` `[N, classes]`: a multi-label one where the labels are `[N, classes]` too.
    ///
    /// # Errors
    /// [`TorchError`] when libtorch fails, for instance because of other shapes.
    pub fn mean(&self, logits: &Tensor, targets: &Targets<'_>) -> Result<Tensor, TorchError> {
        let loss = self.against(logits, targets.labels)?;
        let Some([others, shares]) = targets.mixed else { return Ok(loss) };
        let other = self.against(logits, others)?.f_mul(&shares.f_select(0, 1)?)?;
        Ok(loss.f_mul(&shares.f_select(0, 0)?)?.f_add(&other)?)
    }

    fn against(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor, TorchError> {
        let (weights, mean) = (self.weights.as_ref(), Reduction::Mean);
        Ok(match (labels.dim(), self.gamma) {
            (1, None) => logits.f_cross_entropy_loss(labels, weights, mean, -100, self.smoothing)?,
            (1, Some(gamma)) => self.focal(logits, labels, gamma)?,
            (_, None) => {
                logits.f_binary_cross_entropy_with_logits(&self.smooth(labels)?, None, weights, mean)?
            }
            (_, Some(gamma)) => self.binary_focal(logits, labels, gamma)?,
        })
    }

    /// Computes the focal loss `[]` for classes `[N]`: the cross-entropy where `gamma` is 0.
    fn focal(&self, logits: &Tensor, labels: &Tensor, gamma: f64) -> Result<Tensor, TorchError> {
        let classes = logits.size()[1];
        let log_p = logits.f_log_softmax(1, Kind::Float)?;
        // Zero would have an infinite gradient where gamma is below 1.
        let wrong = log_p.f_exp()?.f_neg()?.f_add_scalar(1.0)?.f_clamp_min(f64::from(f32::EPSILON))?;
        let losses = wrong.f_pow_tensor_scalar(gamma)?.f_mul(&log_p)?.f_neg()?;
        let targets = log_p.f_zeros_like()?.f_scatter_value(1, &labels.f_unsqueeze(1)?, 1.0)?;
        let targets =
            targets.f_mul_scalar(1.0 - self.smoothing)?.f_add_scalar(self.smoothing / classes as f64)?;
        let losses = losses.f_mul(&targets)?;
        Ok(match &self.weights {
            None => losses.f_sum(Kind::Float)?.f_div_scalar(logits.size()[0])?,
            Some(weights) => {
                let all = weights.f_index_select(0, labels)?.f_sum(Kind::Float)?;
                losses.f_mul(weights)?.f_sum(Kind::Float)?.f_div(&all)?
            }
        })
    }

    /// Computes the focal loss `[]` for targets `[N, classes]`: the binary cross-entropy where `gamma` is 0.
    fn binary_focal(&self, logits: &Tensor, targets: &Tensor, gamma: f64) -> Result<Tensor, TorchError> {
        let targets = self.smooth(targets)?;
        let (log_p, log_q) = (logits.f_log_sigmoid()?, logits.f_neg()?.f_log_sigmoid()?);
        let focused = |log: &Tensor, other: &Tensor| -> Result<Tensor, TorchError> {
            Ok(other.f_mul_scalar(gamma)?.f_exp()?.f_mul(log)?.f_neg()?)
        };
        let right = focused(&log_p, &log_q)?.f_mul(&targets)?;
        let right = match &self.weights {
            Some(weights) => right.f_mul(weights)?,
            None => right,
        };
        let wrong = focused(&log_q, &log_p)?.f_mul(&targets.f_neg()?.f_add_scalar(1.0)?)?;
        Ok(right.f_add(&wrong)?.f_mean(Kind::Float)?)
    }

    /// Smooths targets `[N, classes]` of a multi-label task.
    fn smooth(&self, targets: &Tensor) -> Result<Tensor, TorchError> {
        if self.smoothing == 0.0 {
            return Ok(targets.shallow_clone());
        }
        Ok(targets.f_mul_scalar(1.0 - self.smoothing)?.f_add_scalar(self.smoothing / 2.0)?)
    }
}

#[cfg(test)]
mod tests;
