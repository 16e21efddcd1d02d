//! Attention over channels without maxima: squeeze-and-excitation and ECA.

use super::{Conv1d, Conv2d, Path};
use crate::ops::{Module, Ops, Reduce};

/// Sigmoid that a gate ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// [`Ops::sigmoid`].
    Sigmoid,
    /// [`Ops::hard_sigmoid`].
    HardSigmoid,
}

/// Squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507): `x * gate(fc2(relu(fc1(mean(x)))))`, with 1x1 convolutions.
///
/// `[N, C, H, W]` -> `[N, C, H, W]`. Its parameters are named as torchvision's `SqueezeExcitation`.
#[derive(Debug, Clone, PartialEq)]
pub struct SqueezeExcitation {
    /// Full name of the layer.
    pub name: String,
    /// Convolution to the hidden channels, `[N, C, 1, 1]` -> `[N, hidden, 1, 1]`.
    pub fc1: Conv2d,
    /// Convolution to the scores of the channels, `[N, hidden, 1, 1]` -> `[N, C, 1, 1]`.
    pub fc2: Conv2d,
    /// Function from scores to weights.
    pub gate: Gate,
}

impl SqueezeExcitation {
    /// Creates the layer over `channels` with a sigmoid; `hidden` is at least 1.
    pub fn new(path: &Path, channels: usize, hidden: usize) -> Self {
        let conv = |part: &str, inputs, outputs| Conv2d {
            bias: true,
            ..Conv2d::new(path / part, inputs, outputs, 1)
        };
        let (fc1, fc2) = (conv("fc1", channels, hidden), conv("fc2", hidden, channels));
        Self { name: path.to_string(), fc1, fc2, gate: Gate::Sigmoid }
    }

    /// Name under which the weights of the channels, `[N, C, 1, 1]` in `[0, 1]`, can be [observed](Ops::observe).
    pub fn weights(&self) -> String {
        format!("{}.weights", self.name)
    }
}

impl Module for SqueezeExcitation {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(&self.name, || {
            let pooled = ops.reduce(x, Reduce::Mean, &[2, 3], true)?;
            let hidden = ops.relu(&ops.conv2d(&pooled, &self.fc1)?)?;
            let scores = ops.conv2d(&hidden, &self.fc2)?;
            let weights = match self.gate {
                Gate::Sigmoid => ops.sigmoid(&scores)?,
                Gate::HardSigmoid => ops.hard_sigmoid(&scores)?,
            };
            ops.observe(&self.weights(), &weights);
            ops.mul(x, &weights)
        })
    }
}

/// Efficient channel attention, ECA (Wang et al. 2020, arXiv:1910.03151): `x * sigmoid(conv(mean(x)))`, with a convolution
/// along the channels.
///
/// `[N, C, H, W]` -> `[N, C, H, W]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EfficientChannelAttention {
    /// Full name of the layer.
    pub name: String,
    conv: Conv1d,
}

impl EfficientChannelAttention {
    /// Creates the layer; `kernel`, the number of neighbouring channels that a weight depends on, is odd.
    pub fn new(path: &Path, kernel: usize) -> Self {
        Self { name: path.to_string(), conv: Conv1d::new(path / "conv", 1, 1, kernel) }
    }

    /// Name under which the weights of the channels, `[N, C]` in (0, 1), can be [observed](Ops::observe).
    pub fn weights(&self) -> String {
        format!("{}.weights", self.name)
    }
}

impl Module for EfficientChannelAttention {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(&self.name, || {
            let pooled = ops.reduce(x, Reduce::Mean, &[2, 3], false)?;
            let scores = ops.squeeze(&ops.conv1d(&ops.unsqueeze(&pooled, &[1])?, &self.conv)?, &[1])?;
            let weights = ops.sigmoid(&scores)?;
            ops.observe(&self.weights(), &weights);
            ops.mul(x, &ops.unsqueeze(&weights, &[2, 3])?)
        })
    }
}
