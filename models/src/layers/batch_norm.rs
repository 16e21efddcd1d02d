//! Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167).

use super::{Init, Param};

/// Batch normalisation over the channels of `[N, C, H, W]`, as `torch.nn.BatchNorm2d`.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm2d {
    /// Full name of the layer; its parameters are `{name}.weight`, `.bias`, `.running_mean` and `.running_var`, each `[channels]`.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
    /// Epsilon, which is added to the variance.
    pub eps: f64,
    /// Weight of a new batch in the running statistics.
    pub momentum: f64,
}

impl BatchNorm2d {
    /// Names of the parameters, in the order of [`BatchNorm2d::params`] and of the inputs of ONNX's `BatchNormalization`.
    pub const FIELDS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

    /// Creates batch normalisation over `channels` with PyTorch's epsilon, 1e-5, and momentum, 0.1.
    pub fn new(name: impl Into<String>, channels: usize) -> Self {
        Self { name: name.into(), channels, eps: 1e-5, momentum: 0.1 }
    }

    /// Full names of weight, bias, running mean and running variance.
    pub fn names(&self) -> [String; 4] {
        Self::FIELDS.map(|field| format!("{}.{field}", self.name))
    }

    /// Parameters and buffers of the layer.
    pub fn params(&self) -> Vec<Param> {
        let shape = vec![self.channels];
        let [weight, bias, mean, var] = Self::FIELDS;
        vec![
            Param::new(&self.name, weight, shape.clone(), Init::Constant(1.0)),
            Param::new(&self.name, bias, shape.clone(), Init::Constant(0.0)),
            Param::buffer(&self.name, mean, shape.clone(), 0.0),
            Param::buffer(&self.name, var, shape, 1.0),
        ]
    }
}
