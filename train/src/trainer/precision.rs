//! Mixed precision (Micikevicius et al. 2018, arXiv:1710.03740): short floats where that is safe, parameters and sums
//! in float32.
//!
//! The same code runs on the CPU in the tests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::TorchError;
use crate::native::{self, Autocast, ShortFloat};

/// Short float type of mixed precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Amp {
    /// bfloat16: the range of float32, so that gradients need no scaling.
    Bf16,
    /// IEEE half: more exact, but gradients are scaled into its range.
    Fp16,
}

/// A name that is no [`Amp`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a precision: use bf16 or fp16")]
pub struct ParseAmpError(String);

impl FromStr for Amp {
    type Err = ParseAmpError;

    fn from_str(text: &str) -> Result<Self, ParseAmpError> {
        match text {
            "bf16" => Ok(Self::Bf16),
            "fp16" => Ok(Self::Fp16),
            _ => Err(ParseAmpError(text.into())),
        }
    }
}

impl fmt::Display for Amp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        })
    }
}

impl Amp {
    /// Begins mixed precision for this thread's operations on `device`, until the guard is dropped.
    pub(super) fn enter(self, device: Device) -> Result<Autocast, TorchError> {
        let kind = match self {
            Self::Bf16 => ShortFloat::BFloat16,
            Self::Fp16 => ShortFloat::Half,
        };
        Autocast::enter(device, kind)
    }
}

/// Loss scaling, so that small gradients do not vanish in half precision; settings are PyTorch's.
#[derive(Debug)]
pub(super) struct Scaler {
    /// Factor on the loss, `[1]`.
    scale: Tensor,
    /// Steps without overflow since the scale last changed, `[1]`.
    growth: Tensor,
    /// True if the last gradients overflowed, `[1]`.
    found_inf: Tensor,
}

/// Saved state of a scaler.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct ScalerState {
    scale: f32,
    growth: i32,
}

impl Default for ScalerState {
    fn default() -> Self {
        Self { scale: 65_536.0, growth: 0 }
    }
}

impl Scaler {
    /// Goes on from a state.
    pub fn new(state: ScalerState, device: Device) -> Result<Self, TorchError> {
        Ok(Self {
            scale: Tensor::f_from_slice(&[state.scale])?.f_to_device(device)?,
            growth: Tensor::f_from_slice(&[state.growth])?.f_to_device(device)?,
            found_inf: Tensor::f_zeros([1], (Kind::Float, device))?,
        })
    }

    /// Scales the loss `[]`, from which the backward pass begins.
    pub fn scaled(&self, loss: &Tensor) -> Result<Tensor, TorchError> {
        Ok(loss.f_mul(&self.scale.f_squeeze()?)?)
    }

    /// Unscales the gradients; the result `[1]` is 1 when one of them overflowed.
    pub fn unscale(&self, parameters: &[&Tensor]) -> Result<&Tensor, TorchError> {
        let _ = self.found_inf.shallow_clone().f_zero_()?;
        native::unscale(parameters, &self.found_inf, &self.scale.f_reciprocal()?)?;
        Ok(&self.found_inf)
    }

    /// Halves the scale after an overflow, doubles it after 2,000 steps without.
    pub fn update(&self) -> Result<(), TorchError> {
        let mut scale = self.scale.shallow_clone();
        let _ = scale.f_internal_amp_update_scale_(&self.growth, &self.found_inf, 2.0, 0.5, 2_000)?;
        Ok(())
    }

    /// Reads the state; waits for the device.
    pub fn state(&self) -> Result<ScalerState, TorchError> {
        Ok(ScalerState {
            scale: self.scale.f_double_value(&[0])? as f32,
            growth: self.growth.f_int64_value(&[0])? as i32,
        })
    }
}
