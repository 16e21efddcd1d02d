//! A graph in memory: what passes work on.

use indexmap::IndexMap;
use ndarray::ArrayD;

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

/// An input or output of float type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
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

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Initializer {
    /// Weights.
    Float(ArrayD<f32>),
    /// Axes and the like, one-dimensional.
    Int64(Vec<i64>),
}

impl Graph {
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
