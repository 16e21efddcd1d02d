//! 2-D convolution.

use super::{Init, Param};

/// 2-D convolution with a square kernel, as `torch.nn.Conv2d` without dilation and groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// Full name of the layer; its parameters are `{name}.weight` `[out, in, kernel, kernel]` and `{name}.bias` `[out]`.
    pub name: String,
    /// Number of input channels.
    pub in_channels: usize,
    /// Number of output channels.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Stride in both directions.
    pub stride: usize,
    /// Zero padding on every side.
    pub padding: usize,
    /// True if the layer has a bias.
    pub bias: bool,
    /// Initial distribution of the weight.
    pub init: ConvInit,
}

/// Initial distribution of a convolution's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvInit {
    /// `torch.nn.Conv2d`'s own: uniform within `1/sqrt(fan_in)`.
    TorchDefault,
    /// `kaiming_normal_(mode="fan_out", nonlinearity="relu")`, as torchvision's ResNet
    /// (He et al. 2015, arXiv:1502.01852).
    KaimingFanOut,
}

impl Conv2d {
    /// Creates a convolution with stride 1, no padding, no bias and PyTorch's default initialisation.
    pub fn new(name: impl Into<String>, in_channels: usize, out_channels: usize, kernel: usize) -> Self {
        Self {
            name: name.into(),
            in_channels,
            out_channels,
            kernel,
            stride: 1,
            padding: 0,
            bias: false,
            init: ConvInit::TorchDefault,
        }
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
        let area = self.kernel * self.kernel;
        let default = Init::torch_default(self.in_channels * area);
        let init = match self.init {
            ConvInit::TorchDefault => default,
            ConvInit::KaimingFanOut => Init::Normal { std: (2.0 / (self.out_channels * area) as f64).sqrt() },
        };
        let shape = vec![self.out_channels, self.in_channels, self.kernel, self.kernel];
        let mut params = vec![Param::new(&self.name, "weight", shape, init)];
        if self.bias {
            params.push(Param::new(&self.name, "bias", vec![self.out_channels], default));
        }
        params
    }
}
