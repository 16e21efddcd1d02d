//! Descriptions of the server and its models.

use std::fmt;

use serde::Serialize;

use super::{Datatype, Interface};

/// Platform of the models, by the protocol's name for ONNX files.
pub const PLATFORM: &str = "onnx_onnxv1";

/// Extensions of the protocol that are supported.
pub const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "classification"];

/// Description of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerMetadata {
    /// Name of the program.
    pub name: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// Extensions of the protocol that are supported.
    pub extensions: &'static [&'static str],
}

impl ServerMetadata {
    /// This program.
    pub const HERE: Self =
        Self { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION"), extensions: &EXTENSIONS };
}

/// Description of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelMetadata {
    /// Name of the model.
    pub name: String,
    /// Versions that are served.
    pub versions: Vec<String>,
    /// [`PLATFORM`].
    pub platform: &'static str,
    /// Inputs, of which a request gives one.
    pub inputs: Vec<TensorMetadata>,
    /// Outputs.
    pub outputs: Vec<TensorMetadata>,
}

impl ModelMetadata {
    /// Describes the model of this name and these versions.
    pub fn new(name: impl Into<String>, versions: Vec<String>, interface: &Interface) -> Self {
        let (inputs, outputs) = (interface.inputs().to_vec(), interface.outputs().to_vec());
        Self { name: name.into(), versions, platform: PLATFORM, inputs, outputs }
    }
}

/// Description of an input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorMetadata {
    /// Name of the tensor.
    pub name: String,
    /// Datatype of the elements.
    pub datatype: Datatype,
    /// Sizes of the dimensions; -1 for any size.
    pub shape: Vec<i64>,
}

impl TensorMetadata {
    /// Tells whether a tensor may have these sizes.
    pub fn fits(&self, sizes: &[usize]) -> bool {
        let fit = |(&own, &size): (&i64, &usize)| own == -1 || usize::try_from(own) == Ok(size);
        self.shape.len() == sizes.len() && self.shape.iter().zip(sizes).all(fit)
    }
}

/// Name, datatype and shape: `` `input` FP32 [-1, 3, 32, 32] ``.
impl fmt::Display for TensorMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {} {:?}", self.name, self.datatype, self.shape)
    }
}
