//! Attributes of operators.

use prost::bytes::Bytes;

use super::graph::Graph;
use super::tensor::{SparseTensor, Tensor};
use super::text::Text;
use super::types::Type;

/// A named constant of an operator
/// ([specification](https://onnx.ai/onnx/repo-docs/IR.html#attributes)).
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// Name of the attribute.
    pub name: Text,
    /// Value of the attribute.
    pub value: Value,
    /// Description for people.
    pub doc_string: Text,
    /// True if the file states the kind of the value; files of the first versions of the format do not.
    pub(super) declared: bool,
}

/// Value of an attribute.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // few of a file's attributes are graphs, and a box would show in every pattern
pub enum Value {
    /// 32-bit floating-point number.
    Float(f32),
    /// 64-bit integer.
    Int(i64),
    /// String, in UTF-8.
    String(Bytes),
    /// Dense tensor.
    Tensor(Tensor),
    /// Subgraph, which may read values of the graphs around it.
    Graph(Graph),
    /// Sparse tensor.
    SparseTensor(SparseTensor),
    /// Type of a value.
    Type(Type),
    /// List of 32-bit floating-point numbers.
    Floats(Vec<f32>),
    /// List of 64-bit integers.
    Ints(Vec<i64>),
    /// List of strings, in UTF-8.
    Strings(Vec<Bytes>),
    /// List of dense tensors.
    Tensors(Vec<Tensor>),
    /// List of subgraphs, which may read values of the graphs around them.
    Graphs(Vec<Graph>),
    /// List of sparse tensors.
    SparseTensors(Vec<SparseTensor>),
    /// List of types.
    Types(Vec<Type>),
    /// Reference to an attribute of the enclosing function.
    Reference {
        /// Name of the function's attribute.
        name: String,
        /// Code of its kind (`AttributeProto.AttributeType`).
        kind: i32,
    },
}

impl Attribute {
    /// The attribute `name` with `value`.
    pub fn new(name: &str, value: impl Into<Value>) -> Self {
        Self { name: name.into(), value: value.into(), doc_string: Text::default(), declared: true }
    }

    /// Graphs that are the value, or part of it.
    pub fn graphs(&self) -> &[Graph] {
        match &self.value {
            Value::Graph(graph) => std::slice::from_ref(graph),
            Value::Graphs(graphs) => graphs,
            _ => &[],
        }
    }

    /// Graphs that are the value, or part of it.
    pub fn graphs_mut(&mut self) -> &mut [Graph] {
        match &mut self.value {
            Value::Graph(graph) => std::slice::from_mut(graph),
            Value::Graphs(graphs) => graphs,
            _ => &mut [],
        }
    }
}

macro_rules! values {
    ($($from:ty => $kind:ident,)*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$kind(value)
            }
        }
    )*};
}

values! {
    f32 => Float,
    i64 => Int,
    Tensor => Tensor,
    Graph => Graph,
    Vec<f32> => Floats,
    Vec<i64> => Ints,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(Bytes::copy_from_slice(text.as_bytes()))
    }
}
