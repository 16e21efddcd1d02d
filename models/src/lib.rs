//! The network, written once, and what it means.
//!
//! [`Ops`] is a closed vocabulary of operations. A [`Module`] (a layer, an attention block, a whole network) is
//! plain data with one `forward` generic over `Ops`; everything else is an interpretation of that one function:
//!
//! | interpretation | value | gives |
//! |---|---|---|
//! | [`shapes`] | a shape | names, shapes and initial distributions of all parameters |
//! | [`onnx`] | a value's name | the exported graph |
//! | `train`'s eager one | a libtorch tensor | training, with autograd |
//!
//! This crate knows neither libtorch nor ONNX Runtime.

pub mod card;
pub mod certificate;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
pub mod files;
pub mod layers;
pub mod lockstep;
pub mod onnx;
pub mod ops;
pub mod parity;
pub mod resnet;
pub mod roles;
pub mod shapes;
pub mod testing;
pub mod weights;

pub use ops::{Module, Ops, Reduce};
pub use roles::Roles;
pub use weights::Weights;
