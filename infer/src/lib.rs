//! Runs exported image classifiers on ONNX Runtime.
//!
//! The modules, in the order of an image's way through them:
//!
//! | module | from | to |
//! |---|---|---|
//! | [`files`] | a folder | paths of images |
//! | `places` | folders, object stores, lists, tar shards, parquet | a stream of encoded images |
//! | `data_set` | class folders (`image_folder`) or a list (`image_list`) | labelled images |
//! | [`decode`] | an image file | RGB8 |
//! | [`preprocess`] | RGB8 | the network's input, as the model card says |
//! | [`session`] | a tensor | a tensor, through any ONNX model with one input |
//! | [`attention`] | CBAM in a graph | one fused operator, on the CPU |
//! | [`assume`] | a model without a card | a card, from given labels and preprocessing |
//! | [`classifier`] | images | labels with probabilities |
//! | `bulk` | places full of images | results in parts, by jobs that can be killed and go on |
//! | `evaluate` | labelled images | accuracy, confusion matrix, calibration |
//! | `bench` | a model | latency and throughput on this machine |
//! | [`explain`] | an image | the network's attention masks, and its class activation map |
//! | [`embed`] | images | embeddings, and the nearest of them |
//! | [`inspect`] | an ONNX file | its content, and where it would run |
//! | [`verify`] | an exported file | whether it is unchanged and computes the same here |
//! | `serve` | requests over HTTP and gRPC | answers, under load |
//! | `pages` | an evaluation or a benchmark | an HTML page |
//! | `triton` | models | a model repository of Triton Inference Server |
//!
//! [`runtime`] opens ONNX Runtime when the program runs; nothing of it is linked. [`device`] names the devices.
//! [`escape`] makes names safe for terminals.
//!
//! # Features
//! All but `cloud` are on by default; a library that classifies JPEG and PNG needs none of them.
//!
//! | feature | adds |
//! |---|---|
//! | `cli` | the program `infer`, and `triton` |
//! | `overlay` | `explain::overlay`: drawings of attention and class activation maps |
//! | `report` | `pages`, and the program's flag for them |
//! | `bench` | `bench`, and the program's command for it |
//! | `data` | `data_set`, `evaluate` and `bulk`: labelled images, and large jobs; `places`: tar shards too |
//! | `formats` | GIF, TIFF and WebP images, and JPEGs with unusual scans |
//! | `serve` | `serve`, and the program's command for it |
//! | `cloud` | object stores, web addresses and parquet in `places` |
//!
//! ```no_run
//! use ferronnx_infer::{Classifier, decode};
//!
//! # fn main() -> ferronnx_infer::Result<()> {
//! let classifier = Classifier::from_file("model.onnx")?;
//! let image = decode::file("cat.jpg")?;
//! for guess in classifier.classify(&image)? {
//!     println!("{} {:.1} %", guess.label, 100.0 * guess.probability);
//! }
//! # Ok(()) }
//! ```

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod assume;
pub mod attention;
#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "data")]
pub mod bulk;
pub mod classifier;
#[cfg(feature = "data")]
pub mod data_set;
pub mod decode;
pub mod device;
pub mod embed;
pub mod error;
pub mod escape;
#[cfg(feature = "data")]
pub mod evaluate;
pub mod explain;
mod ffi;
pub mod files;
mod foreign;
#[cfg(feature = "data")]
pub mod image_folder;
#[cfg(feature = "data")]
pub mod image_list;
pub mod inspect;
mod model_error;
pub mod model_spec;
#[cfg(feature = "report")]
pub mod pages;
mod pipeline;
#[cfg(feature = "data")]
pub mod places;
pub mod preprocess;
pub mod results;
pub mod runtime;
mod scores;
#[cfg(feature = "serve")]
pub mod serve;
pub mod session;
#[cfg(feature = "cli")]
pub mod triton;
pub mod verify;

pub use classifier::{Classifier, ClassifierBuilder};
pub use decode::DecodeError;
pub use device::Device;
pub use error::{Error, ErrorKind, Result};
pub use preprocess::Preprocessor;
pub use session::Session;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Compiles the guide's examples.
#[cfg(all(doctest, feature = "bench", feature = "data"))]
#[doc = include_str!("../../docs/infer-library.md")]
struct Guide;
