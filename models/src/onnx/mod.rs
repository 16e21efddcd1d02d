//! The interpretation that writes ONNX, and the passes over what it writes.
//!
//! A module becomes a [`Graph`] ([`trace()`]), passes simplify it ([`passes`]), [`encode()`] makes the file:
//!
//! ```
//! # use models::{layers::Cbam, layers::Attention, onnx, shapes, Weights};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cbam = Cbam::new("cbam", 64, Attention::default());
//! # let weights: Weights = shapes::describe(&cbam, &[1, 64, 8, 8])?.params.into_iter()
//! #     .map(|p| (p.name, ndarray::ArrayD::zeros(p.shape))).collect();
//! let mut graph = onnx::trace(&cbam, &weights, &onnx::Interface::new([64, 8, 8]), onnx::Opset::default())?;
//! onnx::passes::fold_batch_norm(&mut graph);
//! let bytes = onnx::encode(graph, &[("author", "me")]);
//! # assert!(!bytes.is_empty()); Ok(()) }
//! ```
//!
//! Operators follow the [ONNX specification](https://onnx.ai/onnx/operators/).

mod detach;
pub mod digest;
mod encode;
pub mod fuse;
mod graph;
pub mod passes;
mod proto;
mod summary;
mod trace;

pub use detach::{Detached, detach};
pub use digest::WeightsDigest;
pub use encode::{PRODUCER, append_metadata, encode, metadata};
pub use graph::{Attribute, Dim, Element, Graph, Initializer, Node, ValueInfo};
pub use summary::{Port, Stored, Summary};
pub use trace::{Interface, TraceError, Values, trace, values};

/// A version of the standard operators that this crate writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opset(u32);

/// An opset that this crate does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("opset {0} is not supported: choose {min} to {max}", min = Opset::MIN, max = Opset::MAX)]
pub struct UnsupportedOpset(pub u32);

impl Opset {
    /// The oldest opset written.
    pub const MIN: u32 = 17;
    /// The newest opset written.
    pub const MAX: u32 = 23;

    /// The opset `version`, if it is supported.
    pub fn new(version: u32) -> Result<Self, UnsupportedOpset> {
        if (Self::MIN..=Self::MAX).contains(&version) {
            Ok(Self(version))
        } else {
            Err(UnsupportedOpset(version))
        }
    }

    /// Its number.
    pub fn version(self) -> u32 {
        self.0
    }

    /// The IR version that came with the opset, so that no runtime that knows the operators refuses the file
    /// (<https://onnx.ai/onnx/repo-docs/Versioning.html>).
    pub fn ir_version(self) -> i64 {
        match self.0 {
            ..=18 => 8,
            19..=20 => 9,
            21..=22 => 10,
            _ => 11,
        }
    }
}

impl Default for Opset {
    /// 17: every operator here is as old as that, and ONNX Runtime's CUDA provider runs its `ReduceMax`
    /// (newer forms may fall back to the CPU: microsoft/onnxruntime#26065).
    fn default() -> Self {
        Self(17)
    }
}
