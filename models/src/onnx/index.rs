//! Producers, readers and constants of a graph, by the names of its values.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use ndarray::{ArrayD, arr0, arr1};

use super::attribute::Value;
use super::element::Element;
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
    types: OnceCell<HashMap<String, Element>>,
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
        Self { graph, producers, readers, outputs, constants, types: OnceCell::new() }
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

    /// True if `value` is an output of the graph.
    pub fn is_output(&self, value: &str) -> bool {
        self.outputs.contains(value)
    }

    /// Number of uses of `value`: as an operand, in a graph inside a node, or as an output.
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

    /// The constant `value` as an array, if it is one of these elements. It may be computed of constants, as PyTorch's
    /// exporter does with the bias that a convolution lacks:
    /// [`Expand`](https://onnx.ai/onnx/operators/onnx__Expand.html) of one number to the
    /// [`Shape`](https://onnx.ai/onnx/operators/onnx__Shape.html) of weights.
    pub fn array<T: Number>(&self, value: &'g str) -> Option<ArrayD<T>> {
        self.evaluate(value, 8)?.to_array().ok()
    }

    /// The constant `value`, through at most `depth` operators.
    fn evaluate(&self, value: &'g str, depth: usize) -> Option<Cow<'_, Tensor>> {
        if let Some(constant) = self.constant(value) {
            return Some(Cow::Borrowed(constant));
        }
        let node = self.node(self.producer(value)?);
        let operand = |at| self.evaluate(node.input(at)?, depth.checked_sub(1)?);
        match node.standard() {
            "Shape" => shape(node, operand(0)?.dims()).map(Cow::Owned),
            "Expand" => expand(&*operand(0)?, &operand(1)?.to_vec().ok()?).map(Cow::Owned),
            "CastLike" => operand(0).filter(|tensor| self.element(value) == Some(tensor.element())),
            _ => None,
        }
    }

    /// Element type of `value`, as far as it follows from the operators.
    pub fn element(&self, value: &str) -> Option<Element> {
        self.types.get_or_init(|| self.graph.element_types()).get(value).copied()
    }

    /// Number of uses of `value` that are not of its shape alone.
    pub fn uses_of_values(&self, value: &str) -> usize {
        let shapes = self.readers(value).iter().filter(|&&reader| self.node(reader).is("Shape")).count();
        self.uses(value) - shapes
    }

    /// The constant `value` as a list of 64-bit integers.
    pub fn longs(&self, value: &'g str) -> Option<Vec<i64>> {
        self.constant(value)?.to_vec().ok()
    }
}

/// Part of the dimensions `dims`, as the attributes of the `Shape` at `node` say.
fn shape(node: &Node, dims: &[i64]) -> Option<Tensor> {
    let rank = dims.len() as i64;
    let place =
        |place: i64| (if place < 0 { place.saturating_add(rank) } else { place }).clamp(0, rank) as usize;
    let (start, end) = (place(node.int("start", 0)?), place(node.int("end", rank)?));
    Some(arr1(dims.get(start..end).unwrap_or_default()).into_dyn().into())
}

/// A number as often as `dims` say.
fn expand(number: &Tensor, dims: &[i64]) -> Option<Tensor> {
    /// More is no bias.
    const LARGEST: usize = 1 << 20;
    let whole = Tensor::from_raw(number.element(), dims, Vec::new());
    let fits = number.len() == 1 && whole.len() <= LARGEST && number.dims().len() <= dims.len();
    let values = number.bytes().ok().filter(|_| fits)?.repeat(whole.len());
    Some(Tensor::from_raw(number.element(), dims, values))
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
