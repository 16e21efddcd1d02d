//! Graphs of operators.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::node::Node;
use super::tensor::{SparseTensor, Tensor};
use super::text::{Metadata, Text};
use super::types::ValueInfo;

/// A graph of operators: of a whole model, or inside an operator
/// ([specification](https://onnx.ai/onnx/repo-docs/IR.html#graphs)).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// Name of the graph.
    pub name: Text,
    /// The operators in topological order.
    pub nodes: Vec<Node>,
    /// Values that are fed. An initializer among them is a default that the caller may replace, except in files of IR
    /// versions before 4, which list all their initializers.
    pub inputs: Vec<ValueInfo>,
    /// Values that can be fetched.
    pub outputs: Vec<ValueInfo>,
    /// Constants by name.
    pub initializers: IndexMap<String, Tensor>,
    /// Constants of which few values are not zero.
    pub sparse_initializers: Vec<SparseTensor>,
    /// Types of values in the middle of the graph, as far as they are known.
    pub value_info: Vec<ValueInfo>,
    /// Quantisation annotations: for each quantised tensor, names of the initializers with its scale and zero point.
    pub quantization: Vec<QuantizationAnnotation>,
    /// Description for people.
    pub doc_string: Text,
    /// Entries for other programs.
    pub metadata: Metadata,
}

/// Names of the tensors that hold a tensor's scale and zero point.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuantizationAnnotation {
    /// The quantised tensor.
    pub tensor: Text,
    /// The other tensors, by `SCALE_TENSOR` and `ZERO_POINT_TENSOR`.
    pub parameters: Metadata,
}

impl Graph {
    /// The operator called `name`.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The operator called `name`.
    pub fn node_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.name == name)
    }

    /// True if the value `name` is an input.
    pub fn is_input(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| input.name == name)
    }

    /// True if the value `name` is an output.
    pub fn is_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|output| output.name == name)
    }

    /// Names that are defined here, in the order of inputs, initializers and results.
    pub fn definitions(&self) -> impl Iterator<Item = &str> {
        let inputs = self.inputs.iter().map(|input| &*input.name);
        let sparse = self.sparse_initializers.iter().map(SparseTensor::name);
        let results = self.nodes.iter().flat_map(|node| node.outputs.iter().map(String::as_str));
        let names = inputs.chain(self.initializers.keys().map(String::as_str)).chain(sparse).chain(results);
        names.filter(|name| !name.is_empty())
    }

    /// Values of the graphs around this one that it reads.
    pub fn captures(&self) -> Vec<&str> {
        let own: HashSet<&str> = self.definitions().collect();
        let read = self.nodes.iter().flat_map(Node::reads);
        let given = self.outputs.iter().map(|output| &*output.name);
        read.chain(given).filter(|name| !own.contains(name)).collect()
    }

    /// Reads other values of the graphs around this one.
    pub(super) fn rename_captures(&mut self, renamed: &dyn Fn(&str) -> Option<String>) {
        let own: HashSet<String> = self.definitions().map(str::to_owned).collect();
        let renamed = |name: &str| if own.contains(name) { None } else { renamed(name) };
        self.nodes.iter_mut().for_each(|node| node.rename_reads(&renamed));
        for output in &mut self.outputs {
            if let Some(new) = renamed(&output.name) {
                output.name = new.into();
            }
        }
    }

    /// Calls `visit` with every tensor, see [`Model::each_tensor`](super::Model::each_tensor).
    pub(super) fn each_tensor<E>(
        &mut self,
        visit: &mut dyn FnMut(&str, &mut Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        self.initializers.iter_mut().try_for_each(|(name, tensor)| visit(name, tensor))?;
        self.sparse_initializers.iter_mut().try_for_each(|tensor| tensor.each_tensor(visit))?;
        self.nodes.iter_mut().try_for_each(|node| node.each_tensor(visit))
    }

    /// Names of values and operators, in the graphs inside this one too: what is new must have another.
    pub fn names(&self) -> HashSet<String> {
        let mut names: HashSet<String> = self.definitions().map(str::to_owned).collect();
        for node in &self.nodes {
            names.insert(node.name.to_string());
            names.extend(node.graphs().flat_map(Self::names));
        }
        names
    }
}

/// `wanted`, or with a number behind it if it is among `names` already; it is then one of them.
pub(super) fn unique(wanted: &str, names: &mut HashSet<String>) -> String {
    let numbered = (1..).map(|number| format!("{wanted}_{number}"));
    let mut candidates = std::iter::once(wanted.to_owned()).chain(numbered);
    candidates.find(|name| names.insert(name.clone())).expect("numbers do not end")
}
