//! Producers, readers and constants of a graph, by the names of its values.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ndarray::{ArrayD, arr0, arr1};

use super::attribute::Value;
use super::graph::Graph;
use super::node::Node;
use super::tensor::{Number, Tensor};

/// An index of a graph: which node gives a value, which nodes read it, and whether it is constant.
///
/// Readers include the graphs inside nodes. Made once, and valid until the graph changes.
pub struct Index<'g> {
    graph: &'g Graph,
    producers: HashMap<&'g str, usize>,
    readers: HashMap<&'g str, Vec<usize>>,
    outputs: HashSet<&'g str>,
    constants: HashMap<&'g str, Cow<'g, Tensor>>,
}

impl<'g> Index<'g> {
    /// Indexes `graph`. An initializer that is an input too is no constant: the caller may replace it.
    pub fn new(graph: &'g Graph) -> Self {
        let (mut producers, mut constants) = (HashMap::new(), HashMap::new());
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            producers.extend(node.outputs.iter().filter(|name| !name.is_empty()).map(|name| (&name[..], at)));
            node.reads().into_iter().for_each(|name| readers.entry(name).or_default().push(at));
            constants.extend(node.output(0).zip(constant(node)));
        }
        let inputs: HashSet<&str> = graph.inputs.iter().map(|input| &*input.name).collect();
        let fixed = graph.initializers.iter().filter(|(name, _)| !inputs.contains(&name[..]));
        constants.extend(fixed.map(|(name, tensor)| (&name[..], Cow::Borrowed(tensor))));
        let outputs = graph.outputs.iter().map(|output| &*output.name).collect();
        Self { graph, producers, readers, outputs, constants }
    }

    /// The graph.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// The node at this place.
    pub fn node(&self, at: usize) -> &'g Node {
        &self.graph.nodes[at]
    }

    /// Place of the node that gives `value`.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// Place of the node that gives `value`, if it is the standard operator `op`.
    pub fn producer_of(&self, value: &str, op: &str) -> Option<usize> {
        self.producer(value).filter(|&node| self.node(node).is(op))
    }

    /// Places of the nodes that read `value`, once for each operand.
    pub fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    /// Whether `value` can be fetched from outside.
    pub fn is_output(&self, value: &str) -> bool {
        self.outputs.contains(value)
    }

    /// How often `value` is used: as an operand, in a graph inside a node, or as an output.
    pub fn uses(&self, value: &str) -> usize {
        self.readers(value).len() + usize::from(self.is_output(value))
    }

    /// The constant `value`: an initializer, or the result of a
    /// [`Constant`](https://onnx.ai/onnx/operators/onnx__Constant.html), also behind `Identity` operators.
    pub fn constant(&self, mut value: &'g str) -> Option<&Tensor> {
        // As many steps as there are nodes: a damaged file may go in circles.
        for _ in 0..=self.graph.nodes.len() {
            match self.producer_of(value, "Identity").and_then(|node| self.node(node).input(0)) {
                Some(input) => value = input,
                None => return self.constants.get(value).map(Cow::as_ref),
            }
        }
        None
    }

    /// The constant `value` as an array, if it is one of these elements.
    pub fn array<T: Number>(&self, value: &'g str) -> Option<ArrayD<T>> {
        self.constant(value)?.to_array().ok()
    }

    /// The constant `value` as a list of 64-bit integers.
    pub fn longs(&self, value: &'g str) -> Option<Vec<i64>> {
        self.constant(value)?.to_vec().ok()
    }
}

/// The tensor that a `Constant` gives.
pub(super) fn constant(node: &Node) -> Option<Cow<'_, Tensor>> {
    let one = |name| Some(node.attribute(name)?).filter(|_| node.is("Constant"));
    let value =
        ["value", "value_float", "value_floats", "value_int", "value_ints"].into_iter().find_map(one)?;
    Some(match value {
        Value::Tensor(tensor) => Cow::Borrowed(tensor),
        Value::Float(value) => Cow::Owned(arr0(*value).into_dyn().into()),
        Value::Floats(values) => Cow::Owned(arr1(values).into_dyn().into()),
        Value::Int(value) => Cow::Owned(arr0(*value).into_dyn().into()),
        Value::Ints(values) => Cow::Owned(arr1(values).into_dyn().into()),
        _ => return None,
    })
}
