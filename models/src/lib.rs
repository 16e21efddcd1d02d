//! Neural networks as data, and their interpretations: shapes, ONNX graphs, training.
//!
//! [`Ops`] is a closed set of operations. A [`Module`] (a layer, an attention block, a whole network) is plain data with one
//! `forward` that is generic over `Ops`. Each implementation of `Ops` interprets that function:
//!
//! | interpretation | value | result |
//! |---|---|---|
//! | [`shapes`] | a shape | names, shapes and initial distributions of all parameters |
//! | [`onnx`] | a value's name | the exported graph |
//! | `Eager` of `ferronnx-train` | a libtorch tensor | training, with autograd |
//!
//! # Features
//! `checkpoint` (default) adds the reading and writing of checkpoints, `files` the atomic replacement of files.
//!
//! This crate knows neither libtorch nor ONNX Runtime.

pub mod card;
pub mod certificate;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
#[cfg(feature = "files")]
pub mod files;
pub mod layers;
pub mod lockstep;
pub mod networks;
pub mod onnx;
pub mod ops;
pub mod parity;
pub mod roles;
pub mod shapes;
pub mod testing;
pub mod tolerance;
pub mod weights;

pub use ops::{Module, Ops, Reduce};
pub use roles::Roles;
pub use weights::Weights;
