//! A graph as the bytes of an `.onnx` file.

use prost::Message;

use super::graph::{Attribute, Dim, Graph, Initializer, Node, ValueInfo};
use super::proto;
use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_shape_proto::{Dimension, dimension};

/// Producer named in every file.
pub const PRODUCER: &str = "ferronnx";

/// The file: `graph`, and `metadata` for its readers.
///
/// The graph is consumed, so that its weights are in memory no more often than needed.
pub fn encode(graph: Graph, metadata: &[(&str, &str)]) -> Vec<u8> {
    let model = proto::ModelProto {
        ir_version: Some(graph.opset.ir_version()),
        opset_import: vec![proto::OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(graph.opset.version().into()),
        }],
        producer_name: Some(PRODUCER.into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(proto::GraphProto {
            name: Some(PRODUCER.into()),
            node: graph.nodes.iter().map(node).collect(),
            initializer: graph.initializers.into_iter().map(tensor).collect(),
            input: graph.inputs.iter().map(value_info).collect(),
            output: graph.outputs.iter().map(value_info).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut bytes = model.encode_to_vec();
    append_metadata(&mut bytes, metadata);
    bytes
}

/// Adds metadata to an encoded file. Fields that repeat may stand anywhere in it, so that nothing else is touched.
pub fn append_metadata(bytes: &mut Vec<u8>, metadata: &[(&str, &str)]) {
    let entry = |&(key, value): &(&str, &str)| proto::StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    let entries = metadata.iter().map(entry).collect();
    let encoded = proto::ModelProto { metadata_props: entries, ..Default::default() }.encode_to_vec();
    bytes.reserve_exact(encoded.len()); // not the double of what the weights take
    bytes.extend(encoded);
}

/// The value of `key` in the metadata of a file; of several, the last, as ONNX Runtime has it.
pub fn metadata(bytes: &[u8], key: &str) -> Option<String> {
    let model = proto::ModelProto::decode(bytes).ok()?;
    model.metadata_props.into_iter().rev().find(|entry| entry.key() == key).map(|entry| entry.value().into())
}

fn node(node: &Node) -> proto::NodeProto {
    proto::NodeProto {
        name: Some(node.name.clone()),
        op_type: Some(node.op.into()),
        input: node.inputs.clone(),
        output: vec![node.output.clone()],
        attribute: node.attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        ..Default::default()
    }
}

fn attribute(name: &str, value: &Attribute) -> proto::AttributeProto {
    let mut message = proto::AttributeProto { name: Some(name.into()), ..Default::default() };
    let kind = match value {
        Attribute::Int(value) => {
            message.i = Some(*value);
            AttributeType::Int
        }
        Attribute::Ints(values) => {
            message.ints = values.clone();
            AttributeType::Ints
        }
        Attribute::Float(value) => {
            message.f = Some(*value);
            AttributeType::Float
        }
    };
    message.set_type(kind);
    message
}

fn tensor((name, values): (String, Initializer)) -> proto::TensorProto {
    proto::TensorProto {
        name: Some(name),
        data_type: Some(values.element().code() as i32),
        dims: values.shape().iter().map(|&size| size as i64).collect(),
        raw_data: Some(values.to_bytes().into()),
        ..Default::default()
    }
}

fn value_info(value: &ValueInfo) -> proto::ValueInfoProto {
    let dim = |dim: &Dim| Dimension {
        value: Some(match dim {
            Dim::Fixed(size) => dimension::Value::DimValue(*size as i64),
            Dim::Symbol(name) => dimension::Value::DimParam(name.clone()),
        }),
        ..Default::default()
    };
    let tensor = proto::type_proto::Tensor {
        elem_type: Some(value.element.code() as i32),
        shape: Some(proto::TensorShapeProto { dim: value.shape.iter().map(dim).collect() }),
    };
    proto::ValueInfoProto {
        name: Some(value.name.clone()),
        r#type: Some(proto::TypeProto {
            value: Some(proto::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}
