//! Half precision: a file of half the size, and twice the speed where a GPU has units for it.

use std::collections::{HashMap, HashSet};

use half::f16;
use indexmap::IndexMap;

use crate::onnx::element::Element;
use crate::onnx::graph::{Graph, unique};
use crate::onnx::model::Model;
use crate::onnx::node::Node;
use crate::onnx::tensor::Tensor;
use crate::onnx::types::ValueInfo;

/// Operators that are computed in half precision. All others stay in single precision: means and products sum up many
/// values, and runtimes differ in what they sum in; `Sigmoid` goes through an exponential; of operators that are not
/// known here, nothing is known.
const HALF: [&str; 11] = [
    "Add",
    "BatchNormalization",
    "Conv",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "MaxPool",
    "Mul",
    "ReduceMax",
    "Relu",
    "Sub",
];

/// Operators that only move values: they take them as they come.
const INDIFFERENT: [&str; 5] = ["Concat", "Flatten", "Identity", "Squeeze", "Unsqueeze"];

/// A weight that half precision cannot hold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} holds {value}, but half precision ends at 65504")]
pub struct HalfError {
    /// Name of the initializer.
    pub name: String,
    /// The first value that is too large.
    pub value: f32,
}

/// Computes in half precision, but for operators that are numerically sensitive or not known. Inputs and outputs keep
/// their types; [`Cast`](https://onnx.ai/onnx/operators/onnx__Cast.html) operators stand between both precisions.
///
/// # Errors
/// [`HalfError`] when a weight is too large; the model is then as it was. So is one of an opset before 7, whose operators
/// are written otherwise.
pub fn half_precision(model: &mut Model) -> Result<(), HalfError> {
    if model.opset().is_none_or(|opset| opset < 7) {
        return Ok(());
    }
    model.edit(|model| {
        let trained: HashSet<String> = model.training_reads().map(str::to_owned).collect();
        let graph = &mut model.graph;
        let mut pass = Pass::new(graph, &trained);
        for node in &graph.nodes {
            pass.node(graph, node.clone())?;
        }
        let Pass { nodes, initializers, half, .. } = pass;
        let halved = |info: &&mut ValueInfo| half.contains(&*info.name);
        graph.value_info.iter_mut().filter(halved).for_each(|info| info.set_element(Element::Float16));
        (graph.nodes, graph.initializers) = (nodes, initializers);
        Ok(())
    })
}

struct Pass {
    /// Constants that may be converted, as they were.
    weights: IndexMap<String, Tensor>,
    /// Constants that are used, as they are used.
    initializers: IndexMap<String, Tensor>,
    /// Types of the values as they were.
    elements: HashMap<String, Element>,
    /// Values that were of single precision and now are of half.
    half: HashSet<String>,
    /// Conversions that exist: the value of another precision, by name and precision.
    casts: HashMap<(String, Element), String>,
    /// Names that are taken.
    names: HashSet<String>,
    nodes: Vec<Node>,
}

impl Pass {
    /// A pass over `graph` that keeps its inputs, outputs and what is `trained`.
    fn new(graph: &Graph, trained: &HashSet<String>) -> Self {
        let known = |name: &str| graph.is_input(name) || graph.is_output(name) || trained.contains(name);
        let (initializers, weights) =
            graph.initializers.clone().into_iter().partition(|(name, _)| known(name));
        Self {
            weights,
            initializers,
            elements: graph.element_types(),
            half: HashSet::new(),
            casts: HashMap::new(),
            names: graph.names(),
            nodes: Vec::with_capacity(2 * graph.nodes.len()),
        }
    }

    /// Adds `node`, with the conversions that it needs.
    fn node(&mut self, graph: &Graph, mut node: Node) -> Result<(), HalfError> {
        let to_half = self.in_half(&node);
        let mut renamed = HashMap::new();
        for name in node.reads() {
            renamed.insert(name.to_owned(), self.operand(name, to_half)?);
        }
        node.rename_reads(&|name| renamed.get(name).cloned());
        if to_half && graph.is_output(&node.outputs[0]) {
            let half = unique(&typed(&node.outputs[0], Element::Float16), &mut self.names);
            let output = std::mem::replace(&mut node.outputs[0], half.clone());
            self.nodes.extend([node, cast(&half, &output, Element::Float)]);
            self.casts.insert((output, Element::Float16), half);
        } else {
            self.half.extend(node.output(0).filter(|_| to_half).map(str::to_owned));
            self.nodes.push(node);
        }
        Ok(())
    }

    /// True if `node` computes in half precision, and did in single.
    fn in_half(&self, node: &Node) -> bool {
        let is = |name: &str, element| self.elements.get(name) == Some(&element);
        let values =
            || node.inputs.iter().filter(|name| !self.weights.contains_key(*name) && !name.is_empty());
        let known = node.input(0).is_some_and(|name| is(name, Element::Float))
            && node.reads().iter().all(|name| self.elements.get(*name).is_some_and(|&e| !mixed(e)))
            && node.output(0).is_some();
        let op = node.standard();
        let moves = INDIFFERENT.contains(&op) && values().any(|name| self.half.contains(name));
        known && (HALF.contains(&op) || moves)
    }

    /// The name under which an operand has its precision: half, or what it was.
    fn operand(&mut self, name: &str, to_half: bool) -> Result<String, HalfError> {
        if let Some(tensor) = self.weights.get(name) {
            // What cannot be read, for it lies in another file, is converted when the file runs.
            return match tensor.to_array::<f32>() {
                Ok(values) if to_half => {
                    let halves = values.mapv(f16::from_f32);
                    let large = values.iter().zip(&halves).find(|(_, half)| !half.is_finite());
                    match large {
                        Some((&value, _)) => Err(HalfError { name: name.into(), value }),
                        None => Ok(self.constant(name, halves.into())),
                    }
                }
                Err(_) if to_half && tensor.element() == Element::Float => {
                    let tensor = tensor.clone();
                    let name = self.constant(name, tensor);
                    Ok(self.converted(&name, Element::Float16))
                }
                _ => {
                    let tensor = tensor.clone();
                    Ok(self.constant(name, tensor))
                }
            };
        }
        let is_half = self.half.contains(name);
        let is_single = self.elements.get(name) == Some(&Element::Float) && !is_half;
        Ok(match to_half {
            true if is_single => self.converted(name, Element::Float16),
            false if is_half => self.converted(name, Element::Float),
            _ => name.into(),
        })
    }

    /// The value `name` in another precision.
    fn converted(&mut self, name: &str, element: Element) -> String {
        let key = (name.to_owned(), element);
        if let Some(known) = self.casts.get(&key) {
            return known.clone();
        }
        let converted = unique(&typed(name, element), &mut self.names);
        self.nodes.push(cast(name, &converted, element));
        self.casts.insert(key, converted.clone());
        converted
    }

    /// Adds a constant; one that is needed in both types has two names.
    fn constant(&mut self, name: &str, tensor: Tensor) -> String {
        let element = tensor.element();
        match self.initializers.get(name) {
            Some(known) if known.element() != element => {
                let name = self
                    .casts
                    .entry((name.into(), element))
                    .or_insert_with(|| unique(&typed(name, element), &mut self.names));
                self.initializers.entry(name.clone()).or_insert(tensor);
                name.clone()
            }
            Some(_) => name.into(),
            None => {
                self.initializers.insert(name.into(), tensor);
                name.into()
            }
        }
    }
}

/// Types of numbers that cannot stand beside numbers of half precision.
fn mixed(element: Element) -> bool {
    element.is_float() && element != Element::Float
}

fn typed(name: &str, element: Element) -> String {
    let suffix = if element == Element::Float16 { "float16" } else { "float" };
    format!("{name}_{suffix}")
}

fn cast(from: &str, to: &str, element: Element) -> Node {
    let path = if to.starts_with('/') { to.to_owned() } else { format!("/{to}") };
    Node::new("Cast", [from], [to]).named(format!("{path}/Cast")).with("to", i64::from(element.code()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Attention, Cbam, Linear};
    use crate::onnx::{Interface, Opset, trace};
    use crate::{Module, Ops, Reduce, testing};

    struct Network;

    impl Module for Network {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let x = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 }).forward(ops, x)?;
            let fc = Linear::new("fc", 16, 3);
            ops.linear(&ops.reduce(&x, Reduce::Mean, &[2, 3], false)?, &fc)
        }
    }

    fn graph() -> Model {
        let weights = testing::weights(&Network, &[1, 16, 4, 4]).unwrap();
        trace(&Network, &weights, &Interface::new([16, 4, 4]).observed(true), Opset::default()).unwrap()
    }

    /// Element types, once the pass is over.
    fn checked(model: &Model) -> HashMap<String, Element> {
        let mut graph = model.graph.clone();
        graph.value_info.clear();
        graph.element_types()
    }

    #[test]
    fn sensitive_operators_have_float_operands_and_no_value_is_cast_twice() {
        let mut model = graph();
        half_precision(&mut model).unwrap();
        let graph = &model.graph;
        let elements = checked(&model);
        let mut casts = Vec::new();
        for node in &graph.nodes {
            let operands: Vec<_> = node.inputs.iter().map(|name| elements[name]).collect();
            match node.standard() {
                "Cast" => casts.push((&node.inputs[0], elements[&node.outputs[0]])),
                "Unsqueeze" => {}
                _ => {
                    assert!(operands.iter().all(|element| *element == operands[0]), "{node:?}: {operands:?}");
                }
            }
            let sensitive = ["GlobalAveragePool", "ReduceMean", "Gemm", "Sigmoid"];
            assert!(!sensitive.contains(&node.standard()) || operands[0] == Element::Float, "{node:?}");
        }
        assert_eq!(graph.initializers["cbam.spatial_attn.conv.weight"].element(), Element::Float16);
        for (index, cast) in casts.iter().enumerate() {
            assert!(!casts[..index].contains(cast), "{cast:?} twice");
        }
        for output in &graph.outputs {
            assert_eq!(elements[&*output.name], Element::Float, "{}", output.name);
        }
    }

    #[test]
    fn what_is_too_large_is_named_and_nothing_is_changed() {
        let mut model = graph();
        let tensor = &mut model.graph.initializers["cbam.spatial_attn.conv.weight"];
        let mut kernel = tensor.to_array::<f32>().unwrap();
        kernel[[0, 1, 0, 0]] = 1e5;
        *tensor = kernel.into();
        let before = model.clone();
        let error = half_precision(&mut model).unwrap_err();
        assert_eq!(error.name, "cbam.spatial_attn.conv.weight");
        assert_eq!(error.value, 1e5);
        assert_eq!(model, before);
    }

    /// Numbers that are no floats, operators of others and inner graphs get what they got before.
    #[test]
    fn what_is_not_known_keeps_its_operands() {
        let float = |name: &str| ValueInfo::tensor(name, Element::Float, []);
        let branch = |read: &str| Graph {
            nodes: vec![Node::new("Add", [read, "weight"], ["inner"])],
            outputs: vec![float("inner")],
            ..Graph::default()
        };
        let mut model = Model::new(Opset::default());
        let graph = &mut model.graph;
        graph.inputs = vec![float("x"), ValueInfo::tensor("c", Element::Bool, [])];
        graph.outputs = vec![float("y")];
        graph.initializers = [("weight".to_owned(), Tensor::scalar(2.0_f32))].into();
        graph.value_info = vec![float("relu")];
        let foreign = Node { domain: "other".into(), ..Node::new("Add", ["relu", "weight"], ["foreign"]) };
        graph.nodes = vec![
            Node::new("Mul", ["x", "weight"], ["product"]),
            Node::new("Relu", ["product"], ["relu"]),
            Node::new("Shape", ["relu"], ["shape"]),
            Node::new("Add", ["shape", "shape"], ["double"]),
            foreign,
            Node::new("Add", ["foreign", "relu"], ["unknown"]),
            Node::new("If", ["c"], ["y"])
                .with("then_branch", branch("relu"))
                .with("else_branch", branch("unknown")),
        ];
        half_precision(&mut model).unwrap();
        let graph = &model.graph;
        let line = |node: &Node| format!("{} {} {}", node.op, node.reads().join(","), node.outputs.join(","));
        let lines: Vec<_> = graph.nodes.iter().map(line).collect();
        let expected = [
            "Cast x x_float16",
            "Mul x_float16,weight product",
            "Relu product relu",
            "Cast relu relu_float",
            "Shape relu_float shape",
            "Add shape,shape double",
            "Add relu_float,weight_float foreign",
            "Add foreign,relu_float unknown",
            "If c,relu_float,weight_float,unknown,weight_float y",
        ];
        assert_eq!(lines, expected);
        assert_eq!(graph.value_info[0].element(), Some(Element::Float16));
        let elements = ["weight", "weight_float"].map(|name| graph.initializers[name].element());
        assert_eq!(elements, [Element::Float16, Element::Float]);
    }
}
