//! Operations that networks are made of.

use crate::layers::{AvgPool2d, BatchNorm2d, Conv1d, Conv2d, LayerNorm, LayerScale, Linear, MaxPool2d};
use crate::roles::Roles;

/// Reduction of [`Ops::reduce`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    /// Arithmetic mean.
    Mean,
    /// Largest value.
    Max,
}

/// Set of operations that an interpretation of networks implements.
///
/// The set is closed: a [`Module`] can use these operations only, and an interpretation that lacks one does not compile.
/// Values cannot be read, so control flow depends on the configuration of a network and never on data. All interpretations
/// therefore run the same operations.
///
/// Shapes are in PyTorch's order, `[N, C, H, W]`.
///
/// | method | operators in a file |
/// |---|---|
/// | `conv2d`, `conv1d` | `Conv` |
/// | `batch_norm` | `BatchNormalization`; usually merged into the `Conv` before it |
/// | `layer_norm`, over the last axis | `LayerNormalization` |
/// | `layer_scale` | `Unsqueeze` of the factors, `Mul` |
/// | `linear` | `Gemm` |
/// | `max_pool2d`, `avg_pool2d` | `MaxPool`, `AveragePool` |
/// | `relu`, `sigmoid` | `Relu`, `Sigmoid` |
/// | `hard_swish`, `hard_sigmoid` | `HardSwish`, `HardSigmoid` with alpha 1/6 and beta 1/2 |
/// | `silu` | `Sigmoid`, `Mul` |
/// | `gelu`, the exact one | `Div`, `Erf`, `Add`, `Mul`, `Mul`, which runtimes merge |
/// | `add`, `mul`, `divide` | `Add`, `Mul`, `Div` by a constant |
/// | `reduce` over `[2, 3]` | `GlobalAveragePool` or `GlobalMaxPool`, and `Flatten` unless dimensions are kept |
/// | `reduce` over other axes | `ReduceMean` or `ReduceMax` |
/// | `concat`, `squeeze`, `unsqueeze`, `permute` | `Concat`, `Squeeze`, `Unsqueeze`, `Transpose` |
/// | `dropout`, `drop_path` | none: they act in training only |
///
/// A network with an unknown operation does not compile; `ARCHITECTURE.md` says how to add one:
///
/// ```compile_fail,E0599
/// fn forward<O: ferronnx_models::Ops>(ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
///     ops.softmax(x) // no method named `softmax`
/// }
/// ```
///
/// nor does an interpretation that lacks an operation:
///
/// ```compile_fail,E0046
/// struct Nothing;
///
/// impl ferronnx_models::Ops for Nothing {
///     type Value = ();
///     type Error = std::convert::Infallible;
///     // missing: `conv2d`, `batch_norm`, ...
/// }
/// ```
pub trait Ops {
    /// Value that operations take and return: a shape, a tensor, the name of a graph value.
    type Value;
    /// Reason why an operation fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Convolves images, as [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html). `[N, C, H, W]` -> `[N, O, H', W']`.
    ///
    /// # Errors
    /// When `x` has another rank or number of channels, or is smaller than the kernel.
    fn conv2d(&self, x: &Self::Value, layer: &Conv2d) -> Result<Self::Value, Self::Error>;
    /// Normalises channels, as [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html).
    /// `[N, C, H, W]` -> `[N, C, H, W]`.
    ///
    /// # Errors
    /// When `x` has another rank or number of channels.
    fn batch_norm(&self, x: &Self::Value, layer: &BatchNorm2d) -> Result<Self::Value, Self::Error>;
    /// Applies a fully connected layer, `x W^T + b`, as [Gemm](https://onnx.ai/onnx/operators/onnx__Gemm.html).
    /// `[N, I]` -> `[N, O]`.
    ///
    /// # Errors
    /// When `x` has another rank or number of features.
    fn linear(&self, x: &Self::Value, layer: &Linear) -> Result<Self::Value, Self::Error>;
    /// Normalises the last axis of every item, as
    /// [LayerNormalization](https://onnx.ai/onnx/operators/onnx__LayerNormalization.html). `[..., C]` -> `[..., C]`.
    ///
    /// # Errors
    /// When the last axis of `x` has another size.
    fn layer_norm(&self, x: &Self::Value, layer: &LayerNorm) -> Result<Self::Value, Self::Error>;
    /// Multiplies channels by learned factors, as [Mul](https://onnx.ai/onnx/operators/onnx__Mul.html).
    /// `[N, C, H, W]` -> `[N, C, H, W]`.
    ///
    /// # Errors
    /// When `x` has another rank or number of channels.
    fn layer_scale(&self, x: &Self::Value, layer: &LayerScale) -> Result<Self::Value, Self::Error>;
    /// Convolves sequences, as [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html). `[N, C, L]` -> `[N, O, L]`.
    ///
    /// # Errors
    /// When `x` has another rank or number of channels.
    fn conv1d(&self, x: &Self::Value, layer: &Conv1d) -> Result<Self::Value, Self::Error>;
    /// Takes the maximum over windows, as [MaxPool](https://onnx.ai/onnx/operators/onnx__MaxPool.html).
    /// `[N, C, H, W]` -> `[N, C, H', W']`.
    ///
    /// # Errors
    /// When `x` has another rank, or is smaller than the window.
    fn max_pool2d(&self, x: &Self::Value, layer: &MaxPool2d) -> Result<Self::Value, Self::Error>;
    /// Takes the mean over windows, padding included, as
    /// [AveragePool](https://onnx.ai/onnx/operators/onnx__AveragePool.html). `[N, C, H, W]` -> `[N, C, H', W']`.
    ///
    /// # Errors
    /// When `x` has another rank, or is smaller than the window.
    fn avg_pool2d(&self, x: &Self::Value, layer: &AvgPool2d) -> Result<Self::Value, Self::Error>;
    /// Rectifies values, `max(x, 0)`, as [Relu](https://onnx.ai/onnx/operators/onnx__Relu.html). Any shape.
    ///
    /// # Errors
    /// When the interpretation fails.
    fn relu(&self, x: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// Applies the sigmoid, `1 / (1 + exp(-x))`, as [Sigmoid](https://onnx.ai/onnx/operators/onnx__Sigmoid.html). Any shape.
    ///
    /// # Errors
    /// When the interpretation fails.
    fn sigmoid(&self, x: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// Applies `clip(x / 6 + 1 / 2, 0, 1)`, as [HardSigmoid](https://onnx.ai/onnx/operators/onnx__HardSigmoid.html). Any shape.
    ///
    /// # Errors
    /// When the interpretation fails.
    fn hard_sigmoid(&self, x: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// Applies `x * hard_sigmoid(x)` (Howard et al. 2019, arXiv:1905.02244), as
    /// [HardSwish](https://onnx.ai/onnx/operators/onnx__HardSwish.html). Any shape.
    ///
    /// # Errors
    /// When the interpretation fails.
    fn hard_swish(&self, x: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// Applies the SiLU or swish, `x * sigmoid(x)` (Ramachandran et al. 2017, arXiv:1710.05941), as
    /// [Sigmoid](https://onnx.ai/onnx/operators/onnx__Sigmoid.html) and
    /// [Mul](https://onnx.ai/onnx/operators/onnx__Mul.html): ONNX has no such operator before opset 24. Any shape.
    ///
    /// # Errors
    /// When the interpretation fails.
    fn silu(&self, x: &Self::Value) -> Result<Self::Value, Self::Error> {
        self.mul(x, &self.sigmoid(x)?)
    }
    /// Applies the exact GELU, `x / 2 * (1 + erf(x / sqrt(2)))` (Hendrycks and Gimpel 2016, arXiv:1606.08415), as
    /// [Erf](https://onnx.ai/onnx/operators/onnx__Erf.html) with its arithmetic: ONNX has no such operator before opset 20.
    /// Any shape.
    ///
    /// # Errors
    /// When the interpretation fails.
    fn gelu(&self, x: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// Adds values, `a + b`, as [Add](https://onnx.ai/onnx/operators/onnx__Add.html). The ranks are equal; dimensions of size 1
    /// are broadcast.
    ///
    /// # Errors
    /// When the shapes cannot be broadcast.
    fn add(&self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// Multiplies values, `a * b`, as [Mul](https://onnx.ai/onnx/operators/onnx__Mul.html). The ranks are equal; dimensions of
    /// size 1 are broadcast.
    ///
    /// # Errors
    /// When the shapes cannot be broadcast.
    fn mul(&self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// Divides values by a constant, `x / divisor`, as [Div](https://onnx.ai/onnx/operators/onnx__Div.html). Any shape.
    ///
    /// # Errors
    /// When the interpretation fails.
    fn divide(&self, x: &Self::Value, divisor: f32) -> Result<Self::Value, Self::Error>;
    /// Reduces `axes` to one value, as [ReduceMean](https://onnx.ai/onnx/operators/onnx__ReduceMean.html) and
    /// [ReduceMax](https://onnx.ai/onnx/operators/onnx__ReduceMax.html); with `keep_dims` they stay as dimensions of size 1.
    ///
    /// # Errors
    /// When an axis does not exist.
    fn reduce(
        &self,
        x: &Self::Value,
        how: Reduce,
        axes: &[usize],
        keep_dims: bool,
    ) -> Result<Self::Value, Self::Error>;
    /// Joins values along `axis`, as [Concat](https://onnx.ai/onnx/operators/onnx__Concat.html); all other axes are equal.
    ///
    /// # Errors
    /// When another axis differs, or there are no values.
    fn concat(&self, xs: &[&Self::Value], axis: usize) -> Result<Self::Value, Self::Error>;
    /// Inserts dimensions of size 1 at `axes` of the result, as [Unsqueeze](https://onnx.ai/onnx/operators/onnx__Unsqueeze.html).
    ///
    /// # Errors
    /// When the result has no such axes.
    fn unsqueeze(&self, x: &Self::Value, axes: &[usize]) -> Result<Self::Value, Self::Error>;
    /// Removes the dimensions `axes`, which are of size 1, as [Squeeze](https://onnx.ai/onnx/operators/onnx__Squeeze.html).
    ///
    /// # Errors
    /// When an axis does not exist or is of another size.
    fn squeeze(&self, x: &Self::Value, axes: &[usize]) -> Result<Self::Value, Self::Error>;
    /// Orders the dimensions as `axes` does, as [Transpose](https://onnx.ai/onnx/operators/onnx__Transpose.html) and
    /// `torch.permute`: dimension `i` of the result is dimension `axes[i]` of `x`.
    ///
    /// # Errors
    /// When `axes` does not name each dimension once.
    fn permute(&self, x: &Self::Value, axes: &[usize]) -> Result<Self::Value, Self::Error>;

    /// Sets values to zero with probability `rate` and divides the others by `1 - rate`, in training; returns `x` otherwise
    /// (Srivastava et al. 2014). `rate` is in `[0, 1)`. Any shape.
    ///
    /// # Errors
    /// When the interpretation fails.
    fn dropout(&self, x: &Self::Value, rate: f32) -> Result<Self::Value, Self::Error>;
    /// Stochastic depth (Huang et al. 2016, arXiv:1603.09382): [`dropout`](Self::dropout) of whole items of the batch, for
    /// the residual branch of a block. `[N, ...]` -> `[N, ...]`.
    ///
    /// # Errors
    /// When the interpretation fails.
    fn drop_path(&self, x: &Self::Value, rate: f32) -> Result<Self::Value, Self::Error>;

    /// Runs `body` as the part of the network called `name`, a full path such as `backbone.layer1.0`.
    ///
    /// Operations without parameters have no name of their own. Messages and graph nodes take this one.
    ///
    /// # Errors
    /// Those of `body`.
    fn scope<T>(&self, name: &str, body: impl FnOnce() -> Result<T, Self::Error>) -> Result<T, Self::Error> {
        let _ = name;
        body()
    }

    /// Marks `value` as observable under `name`, a full path such as `cbam_layer1.spatial_attn.mask`.
    ///
    /// An exported file can return it as an additional output.
    fn observe(&self, name: &str, value: &Self::Value) {
        let _ = (name, value);
    }
}

/// Network, or part of one: plain data with a forward pass over [`Ops`].
pub trait Module {
    /// Runs the forward pass on `x`.
    ///
    /// # Errors
    /// Those of the interpretation, such as a shape that does not fit.
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error>;

    /// Stem, stages, head and attention, which recipes and pretrained weights refer to; none unless declared.
    fn roles(&self) -> Roles {
        Roles::default()
    }
}
