//! Trains image classifiers on libtorch and writes them as verified ONNX files.
//!
//! A [`run::Run`] trains any [`Module`](ferronnx_models::Module) and keeps everything in a folder; [`fit::fit`] is the
//! shortest way to one. Networks run on libtorch in [`eager`]; [`data`], [`recipe`] and [`trainer`] are the parts of
//! training, and [`export`] verifies a file before it is kept.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod compare;
pub mod data;
pub mod device;
pub mod distributed;
pub mod dropout;
pub mod eager;
pub mod error;
pub mod export;
pub mod fit;
pub mod interrupt;
pub mod layer_cam;
pub mod loss;
pub mod lr_finder;
mod native;
pub mod optimizer;
pub mod params;
pub mod pretrained;
pub mod recipe;
mod recorder;
pub mod report;
pub mod run;
pub mod summary;
pub mod task;
pub mod temperature;
pub mod tensorboard;
pub mod trainer;

/// Compiles the programs of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/own-network.md")]
struct OwnNetwork;
