//! ONNX models: written from modules, read from files, changed by passes.
//!
//! A [`Model`] holds all that an `.onnx` file does, its [`Graph`] above all. [`trace()`] makes one of a module,
//! [`Model::decode`] reads one from a file, [`passes`] change it, and [`encode()`] gives the content of a file:
//!
//! ```
//! # use ferronnx_models::{layers::Cbam, layers::Attention, onnx, shapes, Weights};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cbam = Cbam::new("cbam", 64, Attention::default());
//! # let weights: Weights = shapes::describe(&cbam, &[1, 64, 8, 8])?.params.into_iter()
//! #     .map(|p| (p.name, ndarray::ArrayD::zeros(p.shape))).collect();
//! let mut model = onnx::trace(&cbam, &weights, &onnx::Interface::new([64, 8, 8]), onnx::Opset::default())?;
//! onnx::passes::fold_batch_norm(&mut model);
//! let bytes = onnx::encode(model, &[("author", "me")]);
//! assert_eq!(onnx::Model::decode(bytes)?.metadata.get("author"), Some("me"));
//! # Ok(()) }
//! ```
//!
//! Operators follow the [ONNX specification](https://onnx.ai/onnx/operators/).

mod attribute;
pub mod digest;
mod element;
mod element_types;
pub mod external_data;
pub mod fuse;
mod graph;
pub mod head;
mod index;
mod model;
mod node;
mod opset;
pub mod output_values;
pub mod passes;
mod proto;
mod read;
mod summary;
mod tensor;
mod text;
mod trace;
mod types;
mod write;

pub use attribute::{Attribute, Value};
pub use digest::WeightsDigest;
pub use element::Element;
pub use graph::{Graph, QuantizationAnnotation};
pub use index::Index;
pub use model::{Function, Model, OpsetImport, PRODUCER, Training};
pub use node::Node;
pub use opset::{Opset, UnsupportedOpset};
pub use output_values::{OutputValues, output_values};
pub use read::{ReadError, metadata};
pub use summary::{Port, Stored, Summary};
pub use tensor::{External, Number, SparseTensor, Tensor, TensorError};
pub use text::{Metadata, Text};
pub use trace::{Interface, TraceError, Values, trace, values};
pub use types::{Dim, TensorInfo, Type, ValueInfo};
pub use write::{append_metadata, encode};
