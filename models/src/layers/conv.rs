//! Convolutions.

use super::{Init, Param};

/// 2-D convolution with a square kernel, as `torch.nn.Conv2d`.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// Full name of the layer; its parameters are `{name}.weight` `[out, in / groups, kernel, kernel]` and `{name}.bias`
    /// `[out]`.
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
    /// Distance between neighbouring values under the kernel; 1 for an ordinary convolution.
    pub dilation: usize,
    /// Number of groups of channels that are convolved independently; it divides both numbers of channels. As many as
    /// there are channels make a depthwise convolution.
    pub groups: usize,
    /// True if the layer has a bias.
    pub bias: bool,
    /// Initial distribution of the parameters.
    pub init: ConvInit,
}

/// Initial distribution of a convolution's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvInit {
    /// `torch.nn.Conv2d`'s own: uniform within `1/sqrt(fan_in)`.
    TorchDefault,
    /// `kaiming_normal_(mode="fan_out", nonlinearity="relu")` and biases of zero, as in torchvision's ResNet and MobileNet
    /// (He et al. 2015, arXiv:1502.01852).
    KaimingFanOut,
}

impl Conv2d {
    /// Creates a convolution with stride 1, no padding, one group, no bias and PyTorch's default initialisation.
    pub fn new(name: impl Into<String>, in_channels: usize, out_channels: usize, kernel: usize) -> Self {
        Self {
            name: name.into(),
            in_channels,
            out_channels,
            kernel,
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
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

    /// Shape of the weight: `[out, in / groups, kernel, kernel]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels / self.groups.max(1), self.kernel, self.kernel]
    }

    /// Height and width that the kernel covers, with the gaps of its dilation.
    pub fn extent(&self) -> usize {
        (self.kernel.max(1) - 1) * self.dilation + 1
    }

    /// Parameters of the layer.
    pub fn params(&self) -> Vec<Param> {
        let shape = self.weight_shape();
        let (area, fan_in) = (self.kernel * self.kernel, shape[1..].iter().product());
        let default = Init::torch_default(fan_in);
        let (weight, bias) = match self.init {
            ConvInit::TorchDefault => (default, default),
            ConvInit::KaimingFanOut => {
                let std = (2.0 / (self.out_channels * area) as f64).sqrt();
                (Init::Normal { std }, Init::Constant(0.0))
            }
        };
        let mut params = vec![Param::new(&self.name, "weight", shape.to_vec(), weight)];
        if self.bias {
            params.push(Param::new(&self.name, "bias", vec![self.out_channels], bias));
        }
        params
    }
}

/// 1-D convolution without bias that keeps the length, as `torch.nn.Conv1d` with `padding=kernel // 2`.
///
/// `[N, in, L]` -> `[N, out, L]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv1d {
    /// Full name of the layer; its parameter is `{name}.weight` `[out, in, kernel]`.
    pub name: String,
    /// Number of input channels.
    pub in_channels: usize,
    /// Number of output channels.
    pub out_channels: usize,
    /// Length of the kernel; odd.
    pub kernel: usize,
}

impl Conv1d {
    /// Creates a convolution; `kernel` is odd, so that the length is kept.
    pub fn new(name: impl Into<String>, in_channels: usize, out_channels: usize, kernel: usize) -> Self {
        Self { name: name.into(), in_channels, out_channels, kernel }
    }

    /// Full name of the weight.
    pub fn weight_name(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// Zero padding at both ends.
    pub fn padding(&self) -> usize {
        self.kernel / 2
    }

    /// Parameters of the layer.
    pub fn params(&self) -> Vec<Param> {
        let shape = vec![self.out_channels, self.in_channels, self.kernel];
        let init = Init::torch_default(self.in_channels * self.kernel);
        vec![Param::new(&self.name, "weight", shape, init)]
    }
}
