//! What is in a file, whoever wrote it, but for the values of its weights.

use indexmap::IndexMap;
use prost::{DecodeError, Message};
use serde::Serialize;

use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::dimension::Value as Size;
use super::proto::type_proto::Value as Kind;
use super::proto::{GraphProto, ModelProto, TensorProto, TypeProto, ValueInfoProto};

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Version of the format.
    pub ir_version: i64,
    /// Versions of the operators by domain, the standard one as `ai.onnx`.
    pub opsets: IndexMap<String, i64>,
    /// The program that wrote it, with its version.
    pub producer: String,
    /// What is fed, weights excluded.
    pub inputs: Vec<Port>,
    /// What can be fetched.
    pub outputs: Vec<Port>,
    /// The operator that gives the first output.
    pub head: Option<String>,
    /// Number of operators.
    pub nodes: usize,
    /// How often each operator occurs, the most frequent first.
    pub operators: IndexMap<String, usize>,
    /// Number of values in all weights, constants of the graph included.
    pub parameters: u64,
    /// The weights by the type of their values, the largest first.
    pub weights: IndexMap<String, Stored>,
    /// Bytes of each entry of the metadata.
    pub metadata: IndexMap<String, usize>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Type of its values, `float32`.
    pub element: String,
    /// Sizes of its dimensions, or their names where they are chosen when the file runs.
    pub shape: Vec<String>,
}

/// Weights of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Stored {
    /// How many.
    pub tensors: usize,
    /// Their values.
    pub values: u64,
    /// Memory for them.
    pub bytes: u64,
}

impl Summary {
    /// Of the content of an `.onnx` file.
    ///
    /// # Errors
    /// When it is no such file.
    pub fn of_file(bytes: &[u8]) -> Result<Self, DecodeError> {
        let model = ModelProto::decode(bytes)?;
        let graph = model.graph.unwrap_or_default();
        let is_weight =
            |port: &&ValueInfoProto| graph.initializer.iter().any(|tensor| tensor.name() == port.name());
        let mut operators: IndexMap<String, usize> = IndexMap::new();
        for node in &graph.node {
            *operators.entry(named(node.domain(), node.op_type())).or_default() += 1;
        }
        operators.sort_by(|_, a, _, b| b.cmp(a));
        let mut weights: IndexMap<String, Stored> = IndexMap::new();
        for tensor in &graph.initializer {
            let stored = weights.entry(element(tensor.data_type())).or_default();
            let values = values(tensor);
            stored.tensors += 1;
            stored.values = stored.values.saturating_add(values);
            stored.bytes = stored.bytes.saturating_add(values.saturating_mul(width(tensor.data_type())));
        }
        weights.sort_by(|_, a, _, b| b.bytes.cmp(&a.bytes));
        let opset = |opset: super::proto::OperatorSetIdProto| {
            let domain = if opset.domain().is_empty() { "ai.onnx" } else { opset.domain() };
            (domain.to_owned(), opset.version())
        };
        let metadata = model.metadata_props.iter();
        Ok(Self {
            ir_version: model.ir_version.unwrap_or_default(),
            producer: [model.producer_name, model.producer_version]
                .into_iter()
                .flatten()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" "),
            opsets: model.opset_import.into_iter().map(opset).collect(),
            inputs: graph.input.iter().filter(|port| !is_weight(port)).map(port).collect(),
            outputs: graph.output.iter().map(port).collect(),
            head: head(&graph),
            nodes: graph.node.len(),
            operators,
            parameters: weights.values().fold(0, |sum: u64, stored| sum.saturating_add(stored.values)),
            weights,
            metadata: metadata.map(|entry| (entry.key().to_owned(), entry.value().len())).collect(),
        })
    }
}

fn head(graph: &GraphProto) -> Option<String> {
    let output = graph.output.first()?.name();
    let node = graph.node.iter().find(|node| node.output.iter().any(|name| name == output))?;
    Some(named(node.domain(), node.op_type()))
}

fn named(domain: &str, op: &str) -> String {
    if domain.is_empty() { op.into() } else { format!("{domain}:{op}") }
}

/// How many values a tensor has, whatever its shape pretends.
fn values(tensor: &TensorProto) -> u64 {
    tensor.dims.iter().fold(1, |product: u64, &size| product.saturating_mul(size.max(0).unsigned_abs()))
}

fn port(info: &ValueInfoProto) -> Port {
    let tensor = match info.r#type.as_ref() {
        Some(TypeProto { value: Some(Kind::TensorType(tensor)), .. }) => Some(tensor),
        _ => None,
    };
    let size = |value: &Option<Size>| match value {
        Some(Size::DimValue(size)) => size.to_string(),
        Some(Size::DimParam(name)) if !name.is_empty() => name.clone(),
        _ => "?".into(),
    };
    let dims =
        tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| &shape.dim[..]).unwrap_or_default();
    Port {
        name: info.name().into(),
        element: tensor.map_or_else(|| "not a tensor".into(), |tensor| element(tensor.elem_type())),
        shape: dims.iter().map(|dim| size(&dim.value)).collect(),
    }
}

/// The type's usual name, `float32`.
fn element(code: i32) -> String {
    match DataType::try_from(code) {
        Ok(DataType::Float) => "float32".into(),
        Ok(DataType::Double) => "float64".into(),
        Ok(known) => known.as_str_name().to_lowercase(),
        Err(_) => format!("type {code}"),
    }
}

/// Bytes of a value; packed ones count as whole bytes, texts as none.
fn width(code: i32) -> u64 {
    match DataType::try_from(code) {
        Ok(DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64) => 8,
        Ok(DataType::Float | DataType::Int32 | DataType::Uint32) => 4,
        Ok(DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16) => 2,
        Ok(DataType::Complex128) => 16,
        Ok(DataType::String | DataType::Undefined) | Err(_) => 0,
        Ok(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Interface, Opset, encode, passes, trace};
    use crate::resnet::{Architecture, ResNet18};
    use crate::testing;

    #[test]
    fn counts_what_is_there() {
        let network = ResNet18::new(&Architecture::default()).unwrap();
        let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
        let interface = Interface::new([3, 32, 32]).output("logits").observed(true);
        let mut graph = trace(&network, &weights, &interface, Opset::new(18).unwrap()).unwrap();
        passes::fold_batch_norm(&mut graph);
        let (nodes, tensors) = (graph.nodes.len(), graph.initializers.len());
        let values: usize =
            graph.initializers.values().map(|values| values.shape().iter().product::<usize>()).sum();
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
        let empty = Summary::of_file(b"").unwrap();
        assert_eq!((empty.nodes, empty.producer.as_str()), (0, ""));
        let huge =
            TensorProto { dims: vec![i64::MAX, i64::MAX, -1], data_type: Some(99), ..TensorProto::default() };
        assert_eq!(values(&huge), 0);
        assert_eq!((element(99), width(99)), ("type 99".into(), 0));
    }
}
