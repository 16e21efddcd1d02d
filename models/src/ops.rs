//! The vocabulary of operations that networks are written in.

use crate::layers::{BatchNorm2d, Conv2d, Linear, MaxPool2d};
use crate::roles::Roles;

/// How [`Ops::reduce`] combines the values along its axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    /// Arithmetic mean.
    Mean,
    /// Largest value.
    Max,
}

/// One meaning of the operations.
///
/// The vocabulary is closed: what has no method here cannot be written in a [`Module`], and an interpretation
/// that lacks one does not compile. There is no access to values, so control flow can depend on the network's
/// configuration only, never on data: what one interpretation does, the others do too.
///
/// Shapes are in PyTorch's order, `[N, C, H, W]`.
///
/// An operation that does not exist is found when the network is compiled:
///
/// ```compile_fail,E0599
/// fn forward<O: ferronnx_models::Ops>(ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
///     ops.gelu(x) // no method named `gelu`
/// }
/// ```
///
/// and one that an interpretation lacks, when the interpretation is:
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
    /// What flows between operations: a shape, a tensor, the name of a graph value.
    type Value;
    /// Why an operation cannot be done.
    type Error: std::error::Error + Send + Sync + 'static;

    /// 2-D convolution. `[N, C, H, W]` -> `[N, O, H', W']`.
    fn conv2d(&self, x: &Self::Value, layer: &Conv2d) -> Result<Self::Value, Self::Error>;
    /// Batch normalisation over `C`. `[N, C, H, W]` -> `[N, C, H, W]`.
    fn batch_norm(&self, x: &Self::Value, layer: &BatchNorm2d) -> Result<Self::Value, Self::Error>;
    /// `x W^T + b`. `[N, I]` -> `[N, O]`.
    fn linear(&self, x: &Self::Value, layer: &Linear) -> Result<Self::Value, Self::Error>;
    /// Maximum over windows. `[N, C, H, W]` -> `[N, C, H', W']`.
    fn max_pool2d(&self, x: &Self::Value, layer: &MaxPool2d) -> Result<Self::Value, Self::Error>;
    /// `max(x, 0)`, any shape.
    fn relu(&self, x: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// `1 / (1 + exp(-x))`, any shape.
    fn sigmoid(&self, x: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// `a + b`, with broadcasting of dimensions of size 1; the ranks are equal.
    fn add(&self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// `a * b`, with broadcasting of dimensions of size 1; the ranks are equal.
    fn mul(&self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// Combines all values along `axes`, which stay as dimensions of size 1 when `keep_dims`.
    fn reduce(
        &self,
        x: &Self::Value,
        how: Reduce,
        axes: &[usize],
        keep_dims: bool,
    ) -> Result<Self::Value, Self::Error>;
    /// Joins values of equal shape but for `axis`.
    fn concat(&self, xs: &[&Self::Value], axis: usize) -> Result<Self::Value, Self::Error>;
    /// Inserts dimensions of size 1 so that they stand at `axes` of the result.
    fn unsqueeze(&self, x: &Self::Value, axes: &[usize]) -> Result<Self::Value, Self::Error>;

    /// Runs `body` for the part of the network called `name` (a full path, `backbone.layer1.0`).
    ///
    /// Operations without parameters have no name of their own; this is where messages and graph nodes get theirs.
    fn scope<T>(&self, name: &str, body: impl FnOnce() -> Result<T, Self::Error>) -> Result<T, Self::Error> {
        let _ = name;
        body()
    }

    /// Says that `value` is worth looking at from outside, as `name` (a full path, `cbam_layer1.spatial_attn.mask`):
    /// an exported file can give it as a further output.
    fn observe(&self, name: &str, value: &Self::Value) {
        let _ = (name, value);
    }
}

/// A part of a network, or all of it: plain data that says what it does in terms of [`Ops`].
pub trait Module {
    /// Applies the module to `x`.
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error>;

    /// Stem, stages, head and attention, which recipes and pretrained weights refer to; none unless declared.
    fn roles(&self) -> Roles {
        Roles::default()
    }
}
