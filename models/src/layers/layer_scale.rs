//! Layer scale (Touvron et al. 2021, arXiv:2103.17239).

use super::{Init, Param};

/// Learned factor for each channel, as the `gamma` of ConvNeXt's blocks. `[N, C, H, W]` -> `[N, C, H, W]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerScale {
    /// Full name of the layer; its parameter is `{name}.gamma` `[channels]`.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
    /// Initial value of all factors.
    pub init: f64,
}

impl LayerScale {
    /// Creates factors for `channels` that begin at 1e-6, as in ConvNeXt: a block begins as its shortcut.
    pub fn new(name: impl Into<String>, channels: usize) -> Self {
        Self { name: name.into(), channels, init: 1e-6 }
    }

    /// Full name of the factors.
    pub fn gamma_name(&self) -> String {
        format!("{}.gamma", self.name)
    }

    /// Parameters of the layer.
    pub fn params(&self) -> Vec<Param> {
        vec![Param::new(&self.name, "gamma", vec![self.channels], Init::Constant(self.init))]
    }
}
