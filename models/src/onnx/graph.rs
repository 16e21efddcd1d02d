//! A graph in memory: what passes work on.

use std::collections::HashMap;

use half::f16;
use indexmap::IndexMap;
use ndarray::{ArrayD, arr0};

use super::Opset;

/// A graph of operators. Nodes are in topological order.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Version of the operators.
    pub opset: Opset,
    /// What is fed.
    pub inputs: Vec<ValueInfo>,
    /// What is fetched.
    pub outputs: Vec<ValueInfo>,
    /// The operators.
    pub nodes: Vec<Node>,
    /// Constants by name.
    pub initializers: IndexMap<String, Initializer>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
    /// Type of its values.
    pub element: Element,
    /// Its dimensions.
    pub shape: Vec<Dim>,
}

/// A dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always of this size.
    Fixed(usize),
    /// Chosen when the file runs.
    Symbol(String),
}

/// An operator with its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique, hierarchical name: `/backbone/layer1/0/conv1/Conv`.
    pub name: String,
    /// Operator of the standard domain.
    pub op: &'static str,
    /// Names of values and initializers.
    pub inputs: Vec<String>,
    /// Name of the result; every operator here has one.
    pub output: String,
    /// Attributes in the order they are written.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A number.
    Int(i64),
    /// A list of numbers.
    Ints(Vec<i64>),
    /// A real number.
    Float(f32),
}

/// Types of values, by ONNX's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floating point.
    Float,
    /// 16-bit floating point, IEEE 754.
    Float16,
    /// Signed bytes.
    Int8,
    /// Unsigned bytes.
    Uint8,
    /// 32-bit integers.
    Int32,
    /// 64-bit integers.
    Int64,
}

impl Element {
    const ALL: [Self; 6] = [Self::Float, Self::Float16, Self::Int8, Self::Uint8, Self::Int32, Self::Int64];

    fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|element| element.code() == code)
    }

    /// Its number in the format (`TensorProto.DataType`).
    pub fn code(self) -> i64 {
        match self {
            Self::Float => 1,
            Self::Uint8 => 2,
            Self::Int8 => 3,
            Self::Int32 => 6,
            Self::Int64 => 7,
            Self::Float16 => 10,
        }
    }
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Initializer {
    /// Weights.
    Float(ArrayD<f32>),
    /// Weights in half precision.
    Float16(ArrayD<f16>),
    /// Quantised weights.
    Int8(ArrayD<i8>),
    /// Zero points of quantised activations.
    Uint8(ArrayD<u8>),
    /// Quantised biases.
    Int32(ArrayD<i32>),
    /// Axes and the like.
    Int64(ArrayD<i64>),
}

impl Initializer {
    /// A single number, of rank 0.
    pub fn scalar(value: f32) -> Self {
        Self::Float(arr0(value).into_dyn())
    }

    /// Type of its values.
    pub fn element(&self) -> Element {
        match self {
            Self::Float(_) => Element::Float,
            Self::Float16(_) => Element::Float16,
            Self::Int8(_) => Element::Int8,
            Self::Uint8(_) => Element::Uint8,
            Self::Int32(_) => Element::Int32,
            Self::Int64(_) => Element::Int64,
        }
    }

    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Float(values) => values.shape(),
            Self::Float16(values) => values.shape(),
            Self::Int8(values) => values.shape(),
            Self::Uint8(values) => values.shape(),
            Self::Int32(values) => values.shape(),
            Self::Int64(values) => values.shape(),
        }
    }

    /// Its values in row-major order, little-endian: `raw_data` of the format.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Float(values) => little_endian(values, f32::to_le_bytes),
            Self::Float16(values) => little_endian(values, f16::to_le_bytes),
            Self::Int8(values) => little_endian(values, i8::to_le_bytes),
            Self::Uint8(values) => little_endian(values, u8::to_le_bytes),
            Self::Int32(values) => little_endian(values, i32::to_le_bytes),
            Self::Int64(values) => little_endian(values, i64::to_le_bytes),
        }
    }
}

fn little_endian<T: Copy, const N: usize>(values: &ArrayD<T>, bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut raw = vec![0; N * values.len()];
    for (raw, &value) in raw.chunks_exact_mut(N).zip(values) {
        raw.copy_from_slice(&bytes(value));
    }
    raw
}

impl Graph {
    /// Types of all values and constants, by name.
    pub fn elements(&self) -> HashMap<String, Element> {
        let constants = self.initializers.iter().map(|(name, values)| (name.clone(), values.element()));
        let inputs = self.inputs.iter().map(|input| (input.name.clone(), input.element));
        let mut elements: HashMap<String, Element> = constants.chain(inputs).collect();
        for node in &self.nodes {
            let like = |operand: usize| node.inputs.get(operand).and_then(|name| elements.get(name).copied());
            let element = match (node.op, node.attributes.first()) {
                ("Cast", Some((_, Attribute::Int(code)))) => Element::from_code(*code),
                ("DequantizeLinear", _) => Some(Element::Float),
                ("QuantizeLinear", _) => like(2),
                _ => like(0),
            };
            elements.extend(element.map(|element| (node.output.clone(), element)));
        }
        elements
    }

    /// How many operands read the value `name`, the graph's outputs included.
    pub(super) fn uses(&self, name: &str) -> usize {
        let operands = self.nodes.iter().flat_map(|node| &node.inputs).filter(|input| *input == name).count();
        operands + self.outputs.iter().filter(|output| output.name == name).count()
    }

    /// The float constant `name`, if it is one.
    pub(super) fn float(&self, name: &str) -> Option<&ArrayD<f32>> {
        match self.initializers.get(name) {
            Some(Initializer::Float(values)) => Some(values),
            _ => None,
        }
    }
}
