//! Runs exported image classifiers on ONNX Runtime.
//!
//! One module a step, in the order of an image's way through:
//!
//! | module | from | to |
//! |---|---|---|
//! | [`files`] | a folder | paths of images |
//! | [`decode`] | a file | RGB8 |
//! | [`preprocess`] | RGB8 | the network's input, as the model card says |
//! | [`session`] | a tensor | a tensor, through any `.onnx` with one float input |
//! | [`attention`] | CBAM in a graph | one operator of our own, on the CPU |
//! | [`assume`] | a model without a card | a card, of what the user knows |
//! | [`classifier`] | images | labels with probabilities |
//! | [`evaluate`] | labelled images | accuracy, confusion, calibration |
//! | [`mod@bench`] | a model | how fast it runs here |
//! | [`explain`] | an image | where the network looked |
//! | [`inspect`] | any `.onnx` | what is in it, and where it would run |
//! | [`verify`] | an exported file | whether it is what was exported, and computes the same here |
//!
//! [`runtime`] finds ONNX Runtime when the program runs and [`device`] says where a session computes; nothing of
//! either is linked. Training's evaluation uses [`decode`] and [`preprocess`], so that an image means the same to
//! both, and libtorch is nowhere in this crate.
//!
//! ```no_run
//! use ferronnx_infer::{classifier::Classifier, decode};
//!
//! # fn main() -> ferronnx_infer::Result<()> {
//! let classifier = Classifier::builder().load("model.onnx".as_ref())?;
//! let image = decode::file("cat.jpg".as_ref())?;
//! for guess in classifier.classify(&image)? {
//!     println!("{} {:.1} %", guess.label, 100.0 * guess.probability);
//! }
//! # Ok(()) }
//! ```

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod assume;
pub mod attention;
pub mod bench;
pub mod classifier;
pub mod decode;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod explain;
mod ffi;
pub mod files;
pub mod image_folder;
pub mod inspect;
mod pipeline;
pub mod preprocess;
pub mod results;
pub mod runtime;
pub mod session;
pub mod text;
pub mod verify;

pub use classifier::Classifier;
pub use device::Device;
pub use error::{Error, Result};
pub use preprocess::Preprocessor;
pub use session::Session;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
