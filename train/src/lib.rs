//! Trains image classifiers on libtorch and writes them as ONNX.
//!
//! The network is defined in `models`; here is what it means on libtorch ([`eager`]), and what training is made of:
//! images ([`data`]), recipes ([`recipe`]), the loop ([`trainer`]), what a run leaves behind ([`run`]), and the
//! export that is verified before it is kept ([`export`]). [`fit`] is all of that in a few lines, for networks of your
//! own.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod data;
pub mod device;
pub mod eager;
pub mod error;
pub mod export;
pub mod fit;
mod native;
pub mod optimizer;
pub mod params;
pub mod pretrained;
pub mod recipe;
pub mod report;
pub mod run;
pub mod summary;
pub mod tensorboard;
pub mod trainer;

/// The guide's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/own-network.md")]
struct OwnNetwork;
