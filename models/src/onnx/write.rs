//! Writing the bytes of an `.onnx` file.

use prost::Message;

use super::attribute::{Attribute, Value};
use super::graph::{Graph, QuantizationAnnotation};
use super::model::{Function, Model, OpsetImport, Training};
use super::node::Node;
use super::proto;
use super::proto::attribute_proto::AttributeType;
use super::tensor::{SparseTensor, Tensor};
use super::text::Metadata;
use super::types::{Type, ValueInfo};

/// The content of a file: `model`, with further `metadata` at the end.
///
/// The model is consumed, so that its weights are in memory no more often than needed.
pub fn encode(model: Model, metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = model.encode();
    append_metadata(&mut bytes, metadata);
    bytes
}

/// Adds metadata to the content of a file. Repeated fields may stand anywhere in it, so nothing else is touched.
pub fn append_metadata(file: &mut Vec<u8>, metadata: &[(&str, &str)]) {
    let Metadata(metadata_props) = metadata.iter().copied().collect();
    let encoded = proto::ModelProto { metadata_props, ..Default::default() }.encode_to_vec();
    file.reserve_exact(encoded.len()); // not the double of what the weights take
    file.extend(encoded);
}

impl Model {
    /// The content of a file.
    pub fn encode(self) -> Vec<u8> {
        model(self).encode_to_vec()
    }
}

fn all<T, P>(parts: Vec<T>, write: impl Fn(T) -> P) -> Vec<P> {
    parts.into_iter().map(write).collect()
}

pub(super) fn model(model: Model) -> proto::ModelProto {
    proto::ModelProto {
        ir_version: model.ir_version,
        opset_import: all(model.opsets, opset),
        producer_name: model.producer.0,
        producer_version: model.producer_version.0,
        domain: model.domain.0,
        model_version: model.model_version,
        doc_string: model.doc_string.0,
        graph: Some(graph(model.graph)),
        metadata_props: model.metadata.0,
        training_info: all(model.training, training),
        functions: all(model.functions, function),
        configuration: model.configurations,
    }
}

fn opset(opset: OpsetImport) -> proto::OperatorSetIdProto {
    proto::OperatorSetIdProto { domain: opset.domain.0, version: opset.version }
}

fn function(function: Function) -> proto::FunctionProto {
    proto::FunctionProto {
        name: function.name.0,
        input: function.inputs,
        output: function.outputs,
        attribute: function.attributes,
        attribute_proto: all(function.defaults, attribute),
        node: all(function.nodes, node),
        doc_string: function.doc_string.0,
        opset_import: all(function.opsets, opset),
        domain: function.domain.0,
        overload: function.overload.0,
        value_info: all(function.value_info, value_info),
        metadata_props: function.metadata.0,
    }
}

fn training(training: Training) -> proto::TrainingInfoProto {
    proto::TrainingInfoProto {
        initialization: training.initialization.map(graph),
        algorithm: training.algorithm.map(graph),
        initialization_binding: training.initialization_binding.0,
        update_binding: training.update_binding.0,
    }
}

fn graph(graph: Graph) -> proto::GraphProto {
    proto::GraphProto {
        node: all(graph.nodes, node),
        name: graph.name.0,
        initializer: graph.initializers.into_iter().map(initializer).collect(),
        sparse_initializer: all(graph.sparse_initializers, sparse),
        doc_string: graph.doc_string.0,
        input: all(graph.inputs, value_info),
        output: all(graph.outputs, value_info),
        value_info: all(graph.value_info, value_info),
        quantization_annotation: all(graph.quantization, annotation),
        metadata_props: graph.metadata.0,
    }
}

fn initializer((name, Tensor(tensor)): (String, Tensor)) -> proto::TensorProto {
    proto::TensorProto { name: Some(name), ..tensor }
}

fn annotation(annotation: QuantizationAnnotation) -> proto::TensorAnnotation {
    proto::TensorAnnotation {
        tensor_name: annotation.tensor.0,
        quant_parameter_tensor_names: annotation.parameters.0,
    }
}

fn sparse(tensor: SparseTensor) -> proto::SparseTensorProto {
    let [values, indices] = [tensor.values, tensor.indices].map(|tensor| tensor.map(|Tensor(tensor)| tensor));
    proto::SparseTensorProto { values, indices, dims: tensor.dims }
}

fn value_info(value: ValueInfo) -> proto::ValueInfoProto {
    proto::ValueInfoProto {
        name: value.name.0,
        r#type: value.kind.map(|Type(kind)| kind),
        doc_string: value.doc_string.0,
        metadata_props: value.metadata.0,
    }
}

fn node(node: Node) -> proto::NodeProto {
    proto::NodeProto {
        input: node.inputs,
        output: node.outputs,
        name: node.name.0,
        op_type: node.op.0,
        domain: node.domain.0,
        overload: node.overload.0,
        attribute: all(node.attributes, attribute),
        doc_string: node.doc_string.0,
        metadata_props: node.metadata.0,
        device_configurations: node.devices,
    }
}

fn attribute(attribute: Attribute) -> proto::AttributeProto {
    let mut message = proto::AttributeProto {
        name: attribute.name.0,
        doc_string: attribute.doc_string.0,
        ..Default::default()
    };
    let kind = value(&mut message, attribute.value);
    message.r#type = attribute.declared.then_some(kind);
    message
}

/// Puts the value into the message; gives the code of its kind.
fn value(message: &mut proto::AttributeProto, value: Value) -> i32 {
    macro_rules! put {
        ($field:ident, $value:expr, $kind:ident) => {{
            message.$field = $value;
            AttributeType::$kind as i32
        }};
    }
    match value {
        Value::Float(value) => put!(f, Some(value), Float),
        Value::Int(value) => put!(i, Some(value), Int),
        Value::String(text) => put!(s, Some(text), String),
        Value::Tensor(Tensor(tensor)) => put!(t, Some(tensor), Tensor),
        Value::Graph(inner) => put!(g, Some(graph(inner)), Graph),
        Value::SparseTensor(tensor) => put!(sparse_tensor, Some(sparse(tensor)), SparseTensor),
        Value::Type(Type(kind)) => put!(tp, Some(kind), TypeProto),
        Value::Floats(values) => put!(floats, values, Floats),
        Value::Ints(values) => put!(ints, values, Ints),
        Value::Strings(texts) => put!(strings, texts, Strings),
        Value::Tensors(tensors) => put!(tensors, all(tensors, |Tensor(tensor)| tensor), Tensors),
        Value::Graphs(graphs) => put!(graphs, all(graphs, graph), Graphs),
        Value::SparseTensors(tensors) => put!(sparse_tensors, all(tensors, sparse), SparseTensors),
        Value::Types(kinds) => put!(type_protos, all(kinds, |Type(kind)| kind), TypeProtos),
        Value::Reference { name, kind } => {
            message.ref_attr_name = Some(name);
            kind
        }
    }
}
