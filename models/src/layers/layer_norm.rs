//! Layer normalisation (Ba et al. 2016, arXiv:1607.06450).

use super::{Init, Param};

/// Layer normalisation over the last axis, as `torch.nn.LayerNorm`.
///
/// `[..., size]` -> `[..., size]`. For the channels of images, `[N, C, H, W]`, put it between two
/// [`Ops::permute`](crate::Ops::permute): `[0, 2, 3, 1]` before, `[0, 3, 1, 2]` after.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// Full name of the layer; its parameters are `{name}.weight` and `{name}.bias`, each `[size]`.
    pub name: String,
    /// Size of the last axis.
    pub size: usize,
    /// Epsilon, which is added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// Creates layer normalisation over a last axis of `size` with PyTorch's epsilon, 1e-5. ConvNeXt and ViT have 1e-6.
    pub fn new(name: impl Into<String>, size: usize) -> Self {
        Self { name: name.into(), size, eps: 1e-5 }
    }

    /// Full names of weight and bias.
    pub fn names(&self) -> [String; 2] {
        ["weight", "bias"].map(|field| format!("{}.{field}", self.name))
    }

    /// Parameters of the layer.
    pub fn params(&self) -> Vec<Param> {
        let shape = vec![self.size];
        vec![
            Param::new(&self.name, "weight", shape.clone(), Init::Constant(1.0)),
            Param::new(&self.name, "bias", shape, Init::Constant(0.0)),
        ]
    }
}
