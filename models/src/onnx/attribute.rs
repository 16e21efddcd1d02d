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
pub enum Value {
    /// A real number.
    Float(f32),
    /// A number.
    Int(i64),
    /// A text, in UTF-8.
    String(Bytes),
    /// A tensor.
    Tensor(Tensor),
    /// A graph, which may read values of the graphs around it.
    Graph(Graph),
    /// A sparse tensor.
    SparseTensor(SparseTensor),
    /// A type.
    Type(Type),
    /// Real numbers.
    Floats(Vec<f32>),
    /// Numbers.
    Ints(Vec<i64>),
    /// Texts, in UTF-8.
    Strings(Vec<Bytes>),
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// Graphs, which may read values of the graphs around them.
    Graphs(Vec<Graph>),
    /// Sparse tensors.
    SparseTensors(Vec<SparseTensor>),
    /// Types.
    Types(Vec<Type>),
    /// The attribute `name` of the function that the operator is part of, which is of the kind with this code.
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
