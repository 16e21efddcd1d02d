//! Summaries of models: operators, inputs, outputs and sizes, without the values of weights.

use indexmap::IndexMap;
use serde::Serialize;

use super::graph::Graph;
use super::model::Model;
use super::node::Node;
use super::read::ReadError;
use super::types::{Dim, ValueInfo};

/// Summary of a model: operators, inputs, outputs, sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Version of the format.
    pub ir_version: i64,
    /// Versions of the operators by domain, the standard one as `ai.onnx`.
    pub opsets: IndexMap<String, i64>,
    /// The program that wrote it, with its version.
    pub producer: String,
    /// Values that are fed, weights excluded.
    pub inputs: Vec<Port>,
    /// Values that can be fetched.
    pub outputs: Vec<Port>,
    /// The operator that gives the first output.
    pub head: Option<String>,
    /// Number of nodes in the graph.
    pub nodes: usize,
    /// Number of times that each operator occurs, the most frequent first.
    pub operators: IndexMap<String, usize>,
    /// Number of values in all weights, constants of the graph included.
    pub parameters: u64,
    /// The weights by the type of their values, the largest first.
    pub weights: IndexMap<String, Stored>,
    /// Bytes of each entry of the metadata.
    pub metadata: IndexMap<String, usize>,
}

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Name of the value.
    pub name: String,
    /// Type of its values, `float32`.
    pub element: String,
    /// Sizes of its dimensions, or their names where they are chosen when the file runs.
    pub shape: Vec<String>,
}

/// Weights of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Stored {
    /// Number of tensors.
    pub tensors: usize,
    /// Number of values in them.
    pub values: u64,
    /// Size of the values in bytes.
    pub bytes: u64,
}

impl Summary {
    /// Summarises the content of an `.onnx` file.
    ///
    /// # Errors
    /// [`ReadError`] when it is no such file.
    pub fn of_file(file: &[u8]) -> Result<Self, ReadError> {
        Ok(Self::of_model(&Model::from_slice(file)?))
    }

    /// Summarises a model.
    pub fn of_model(model: &Model) -> Self {
        let graph = &model.graph;
        let weights = weights(graph);
        let opset = |domain: &str| if domain.is_empty() { "ai.onnx" } else { domain }.to_owned();
        let opsets = model.opsets.iter();
        let producer = [&*model.producer, &*model.producer_version];
        let fed = graph.inputs.iter().filter(|input| !graph.initializers.contains_key(&*input.name));
        Self {
            ir_version: model.ir_version.unwrap_or_default(),
            producer: producer.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
            opsets: opsets.map(|one| (opset(&one.domain), one.version.unwrap_or_default())).collect(),
            inputs: fed.map(port).collect(),
            outputs: graph.outputs.iter().map(port).collect(),
            head: head(graph),
            nodes: graph.nodes.len(),
            operators: operators(graph),
            parameters: weights.values().fold(0, |sum: u64, stored| sum.saturating_add(stored.values)),
            weights,
            metadata: model.metadata.iter().map(|(key, value)| (key.to_owned(), value.len())).collect(),
        }
    }
}

fn operators(graph: &Graph) -> IndexMap<String, usize> {
    let mut operators: IndexMap<String, usize> = IndexMap::new();
    graph.nodes.iter().for_each(|node| *operators.entry(named(node)).or_default() += 1);
    operators.sort_by(|_, a, _, b| b.cmp(a));
    operators
}

fn weights(graph: &Graph) -> IndexMap<String, Stored> {
    let mut weights: IndexMap<String, Stored> = IndexMap::new();
    for tensor in graph.initializers.values() {
        let stored = weights.entry(tensor.element().to_string()).or_default();
        stored.tensors += 1;
        stored.values = stored.values.saturating_add(tensor.len() as u64);
        stored.bytes = stored.bytes.saturating_add(tensor.element().bytes(tensor.len()) as u64);
    }
    weights.sort_by(|_, a, _, b| b.bytes.cmp(&a.bytes));
    weights
}

fn head(graph: &Graph) -> Option<String> {
    let output = &graph.outputs.first()?.name;
    graph.nodes.iter().find(|node| node.outputs.iter().any(|name| *output == *name)).map(named)
}

fn named(node: &Node) -> String {
    if node.domain.is_empty() { node.op.to_string() } else { format!("{}:{}", node.domain, node.op) }
}

fn port(info: &ValueInfo) -> Port {
    let size = |dim: Dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Symbol(name) if name.is_empty() => "?".into(),
        Dim::Symbol(name) => name,
    };
    let shape = info.kind.as_ref().and_then(|kind| kind.shape()).unwrap_or_default();
    Port {
        name: info.name.to_string(),
        element: info.element().map_or_else(|| "not a tensor".into(), |element| element.to_string()),
        shape: shape.into_iter().map(size).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::{Architecture, Classifier};
    use crate::onnx::{Element, Interface, Opset, Tensor, encode, passes, trace};
    use crate::testing;

    #[test]
    fn counts_what_is_there() {
        let network = Classifier::new(&Architecture::default()).unwrap();
        let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
        let interface = Interface::new([3, 32, 32]).output("logits").observed(true);
        let mut graph = trace(&network, &weights, &interface, Opset::new(18).unwrap()).unwrap();
        passes::fold_batch_norm(&mut graph);
        let (nodes, tensors) = (graph.graph.nodes.len(), graph.graph.initializers.len());
        let values: usize = graph.graph.initializers.values().map(Tensor::len).sum();
        let file = encode(graph, &[("key", "four")]);
        let summary = Summary::of_file(&file).unwrap();
        assert_eq!((summary.nodes, summary.operators.values().sum::<usize>()), (nodes, nodes));
        assert_eq!(summary.operators.get_index(0), Some((&"Relu".to_owned(), &25)));
        assert_eq!(summary.operators["Conv"], 24);
        assert_eq!(summary.head.as_deref(), Some("Gemm"));
        assert_eq!(summary.opsets["ai.onnx"], 18);
        assert_eq!(summary.weights.values().map(|stored| stored.tensors).sum::<usize>(), tensors);
        assert_eq!(summary.parameters, values as u64);
        assert_eq!(summary.weights.get_index(0).map(|(kind, _)| kind.as_str()), Some("float32"));
        assert_eq!(summary.metadata["key"], 4);
        let input = Port {
            name: "input".into(),
            element: "float32".into(),
            shape: ["batch", "3", "32", "32"].map(Into::into).into(),
        };
        assert_eq!(summary.inputs, [input]);
        assert_eq!(summary.outputs.len(), 9);
        assert!(summary.producer.starts_with("ferronnx "));
    }

    #[test]
    fn what_is_no_file_is_an_error_and_an_odd_one_is_not() {
        assert!(Summary::of_file(b"text").is_err());
        assert!(Summary::of_file(b"").is_err());
        let empty = Summary::of_file(&[0x3a, 0]).unwrap(); // field 7, the graph, with nothing in it
        assert_eq!((empty.nodes, empty.producer.as_str()), (0, ""));
        let huge = Tensor::from_raw(Element::Unknown(99), [i64::MAX, i64::MAX, -1], vec![]);
        assert_eq!(huge.len(), 0);
        assert_eq!((huge.element().to_string(), huge.element().bytes(1)), ("type 99".into(), 0));
    }
}
