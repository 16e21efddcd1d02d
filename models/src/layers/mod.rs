//! Layers of networks as plain data: sizes and parameter names, no tensors.

mod attention;
mod batch_norm;
mod conv;
mod layer_norm;
mod layer_scale;
mod linear;
mod path;
mod pool;
mod squeeze_excitation;

pub use attention::{Attention, Cbam, ChannelAttention, SpatialAttention};
pub use batch_norm::BatchNorm2d;
pub use conv::{Conv1d, Conv2d, ConvInit};
pub use layer_norm::LayerNorm;
pub use layer_scale::LayerScale;
pub use linear::{Linear, LinearInit};
pub use path::Path;
pub use pool::{AvgPool2d, MaxPool2d};
pub use squeeze_excitation::{EfficientChannelAttention, Gate, SqueezeExcitation};

/// Parameter or buffer of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Name in PyTorch's `state_dict`.
    pub name: String,
    /// Shape, as in PyTorch.
    pub shape: Vec<usize>,
    /// Distribution of its initial values.
    pub init: Init,
    /// True if an optimizer changes the values; running statistics are not trainable.
    pub trainable: bool,
}

/// Distribution of initial values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Constant.
    Constant(f64),
    /// Uniform distribution in `[-bound, bound]`.
    Uniform {
        /// Largest magnitude.
        bound: f64,
    },
    /// Normal distribution with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
}

impl Init {
    /// PyTorch's default for weights and biases of `Linear` and `Conv2d`: `kaiming_uniform_(a=sqrt(5))`, which is uniform
    /// within `1/sqrt(fan_in)`.
    fn torch_default(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }
}

impl Param {
    fn new(layer: &str, field: &str, shape: Vec<usize>, init: Init) -> Self {
        Self { name: format!("{layer}.{field}"), shape, init, trainable: true }
    }

    fn buffer(layer: &str, field: &str, shape: Vec<usize>, value: f64) -> Self {
        let init = Init::Constant(value);
        Self { name: format!("{layer}.{field}"), shape, init, trainable: false }
    }
}
