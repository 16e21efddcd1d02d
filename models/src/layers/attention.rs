//! CBAM, the convolutional block attention module (Woo et al. 2018, arXiv:1807.06521).
//!
//! With PyTorch's default initialisation the sigmoids start near 1/2, where they are almost linear.

use serde::{Deserialize, Serialize};

use super::{Conv2d, Linear, Path};
use crate::ops::{Module, Ops, Reduce};

/// Configuration of CBAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// Reduction ratio of the channel attention: its hidden layer has `channels / ratio` units.
    pub ratio: usize,
    /// Kernel size of the spatial attention's convolution; odd.
    pub kernel: usize,
}

impl Default for Attention {
    fn default() -> Self {
        Self { ratio: 16, kernel: 7 }
    }
}

/// Channel attention: `x * sigmoid(mlp(avg(x)) + mlp(max(x)))`, pooled over `H, W`, with one shared MLP without biases.
///
/// `[N, C, H, W]` -> `[N, C, H, W]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelAttention {
    /// Full name of the layer.
    pub name: String,
    squeeze: Linear,
    excite: Linear,
}

impl ChannelAttention {
    /// Creates channel attention over `channels`; `channels / ratio`, the hidden layer, must be at least 1.
    pub fn new(path: impl Into<Path>, channels: usize, ratio: usize) -> Self {
        let path = path.into();
        let linear = |index: usize, in_features, out_features| Linear {
            bias: false,
            ..Linear::new(&path / "fc" / index, in_features, out_features)
        };
        let hidden = channels / ratio;
        Self {
            name: path.to_string(),
            squeeze: linear(0, channels, hidden),
            excite: linear(2, hidden, channels),
        }
    }

    /// Name under which the weights of the channels, `[N, C]` in (0, 1), can be [observed](Ops::observe).
    pub fn weights(&self) -> String {
        format!("{}.weights", self.name)
    }
}

impl Module for ChannelAttention {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(&self.name, || {
            let score = |how| {
                let pooled = ops.reduce(x, how, &[2, 3], false)?;
                let hidden = ops.relu(&ops.linear(&pooled, &self.squeeze)?)?;
                ops.linear(&hidden, &self.excite)
            };
            let scores = ops.add(&score(Reduce::Mean)?, &score(Reduce::Max)?)?;
            let weights = ops.sigmoid(&scores)?;
            ops.observe(&self.weights(), &weights);
            ops.mul(x, &ops.unsqueeze(&weights, &[2, 3])?)
        })
    }
}

/// Spatial attention: `x * sigmoid(conv([mean over C, max over C]))`, without bias and batch norm.
///
/// `[N, C, H, W]` -> `[N, C, H, W]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SpatialAttention {
    /// Full name of the layer.
    pub name: String,
    conv: Conv2d,
}

impl SpatialAttention {
    /// Creates spatial attention with a `kernel` x `kernel` convolution; `kernel` is odd, so that the size is kept.
    pub fn new(path: impl Into<Path>, kernel: usize) -> Self {
        let path = path.into();
        let conv = Conv2d { padding: kernel / 2, ..Conv2d::new(&path / "conv", 2, 1, kernel) };
        Self { name: path.to_string(), conv }
    }

    /// Name under which the mask, `[N, 1, H, W]` in (0, 1), can be [observed](Ops::observe).
    pub fn mask(&self) -> String {
        format!("{}.mask", self.name)
    }
}

impl Module for SpatialAttention {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(&self.name, || {
            let mean = ops.reduce(x, Reduce::Mean, &[1], true)?;
            let max = ops.reduce(x, Reduce::Max, &[1], true)?;
            let mask = ops.sigmoid(&ops.conv2d(&ops.concat(&[&mean, &max], 1)?, &self.conv)?)?;
            ops.observe(&self.mask(), &mask);
            ops.mul(x, &mask)
        })
    }
}

/// CBAM: channel attention followed by spatial attention.
///
/// `[N, C, H, W]` -> `[N, C, H, W]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cbam {
    /// Channel attention.
    pub channel: ChannelAttention,
    /// Spatial attention.
    pub spatial: SpatialAttention,
}

impl Cbam {
    /// Creates CBAM over `channels`; for the limits of `attention` see [`ChannelAttention`] and [`SpatialAttention`].
    pub fn new(path: impl Into<Path>, channels: usize, attention: Attention) -> Self {
        let path = path.into();
        Self {
            channel: ChannelAttention::new(&path / "channel_attn", channels, attention.ratio),
            spatial: SpatialAttention::new(&path / "spatial_attn", attention.kernel),
        }
    }
}

impl Module for Cbam {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        self.spatial.forward(ops, &self.channel.forward(ops, x)?)
    }
}
