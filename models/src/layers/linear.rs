//! Fully connected layer.

use super::{Init, Param};

/// Fully connected layer, `x W^T + b`, as `torch.nn.Linear`.
///
/// `[N, in]` -> `[N, out]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Full name of the layer; its parameters are `{name}.weight` `[out, in]` and `{name}.bias` `[out]`.
    pub name: String,
    /// Number of input features.
    pub in_features: usize,
    /// Number of output features.
    pub out_features: usize,
    /// True if the layer has a bias.
    pub bias: bool,
    /// Initial distribution of the parameters.
    pub init: LinearInit,
}

/// Initial distribution of a linear layer's parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LinearInit {
    /// `torch.nn.Linear`'s own: uniform within `1/sqrt(in)`.
    TorchDefault,
    /// Normal distribution around 0 for the weight and biases of zero, as in torchvision's MobileNet.
    Normal {
        /// Standard deviation.
        std: f64,
    },
}

impl Linear {
    /// Creates a linear layer with a bias and PyTorch's default initialisation.
    pub fn new(name: impl Into<String>, in_features: usize, out_features: usize) -> Self {
        Self { name: name.into(), in_features, out_features, bias: true, init: LinearInit::TorchDefault }
    }

    /// Full name of the weight.
    pub fn weight_name(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// Full name of the bias, if there is one.
    pub fn bias_name(&self) -> Option<String> {
        self.bias.then(|| format!("{}.bias", self.name))
    }

    /// Parameters of the layer.
    pub fn params(&self) -> Vec<Param> {
        let default = Init::torch_default(self.in_features);
        let (weight, bias) = match self.init {
            LinearInit::TorchDefault => (default, default),
            LinearInit::Normal { std } => (Init::Normal { std }, Init::Constant(0.0)),
        };
        let mut params =
            vec![Param::new(&self.name, "weight", vec![self.out_features, self.in_features], weight)];
        if self.bias {
            params.push(Param::new(&self.name, "bias", vec![self.out_features], bias));
        }
        params
    }
}
