//! Reading the bytes of an `.onnx` file.

use std::mem::take;

use prost::Message;
use prost::bytes::Bytes;

use super::attribute::{Attribute, Value};
use super::graph::{Graph, QuantizationAnnotation};
use super::model::{Function, Model, OpsetImport, Training};
use super::node::Node;
use super::proto;
use super::proto::attribute_proto::AttributeType;
use super::tensor::{SparseTensor, Tensor};
use super::text::{Metadata, Text};
use super::types::{Type, ValueInfo};

/// A reason why bytes are no model.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are no protobuf message of this format.
    #[error("not an ONNX file")]
    Decode(#[from] prost::DecodeError),
    /// The file is empty, or the message has no graph.
    #[error("not an ONNX file: it has no graph")]
    NoGraph,
    /// An initializer has no name.
    #[error("an initializer has no name")]
    NoName,
    /// Two initializers of a graph have one name.
    #[error("there are two initializers {0}")]
    Duplicate(String),
    /// An attribute has no value, several values, or one of an undefined kind.
    #[error("the attribute {attribute} of {node} has not one value of a known kind")]
    Attribute {
        /// Name of the node, or its operator where it has none.
        node: String,
        /// Name of the attribute.
        attribute: String,
    },
}

impl Model {
    /// Reads the content of a file. Values of tensors stay where they are in `file`, which is not copied.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(file: impl Into<Bytes>) -> Result<Self, ReadError> {
        model(proto::ModelProto::decode(file.into())?)
    }

    /// Reads a copy of the content of a file.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn from_slice(file: &[u8]) -> Result<Self, ReadError> {
        Self::decode(Bytes::copy_from_slice(file))
    }
}

/// The value of `key` in the metadata of a file; of several the last, which is the one that ONNX Runtime takes.
pub fn metadata(file: &[u8], key: &str) -> Option<String> {
    let model = proto::ModelProto::decode(file).ok()?;
    Metadata(model.metadata_props).get(key).map(str::to_owned)
}

fn all<P, T>(messages: Vec<P>, read: impl Fn(P) -> Result<T, ReadError>) -> Result<Vec<T>, ReadError> {
    messages.into_iter().map(read).collect()
}

fn model(message: proto::ModelProto) -> Result<Model, ReadError> {
    Ok(Model {
        ir_version: message.ir_version,
        opsets: opsets(message.opset_import),
        producer: Text(message.producer_name),
        producer_version: Text(message.producer_version),
        domain: Text(message.domain),
        model_version: message.model_version,
        doc_string: Text(message.doc_string),
        graph: graph(message.graph.ok_or(ReadError::NoGraph)?)?,
        functions: all(message.functions, function)?,
        metadata: Metadata(message.metadata_props),
        training: all(message.training_info, training)?,
        configurations: message.configuration,
    })
}

fn opsets(messages: Vec<proto::OperatorSetIdProto>) -> Vec<OpsetImport> {
    let opset = |message: proto::OperatorSetIdProto| OpsetImport {
        domain: Text(message.domain),
        version: message.version,
    };
    messages.into_iter().map(opset).collect()
}

fn function(message: proto::FunctionProto) -> Result<Function, ReadError> {
    let name = message.name().to_owned();
    Ok(Function {
        name: Text(message.name),
        domain: Text(message.domain),
        overload: Text(message.overload),
        inputs: message.input,
        outputs: message.output,
        attributes: message.attribute,
        defaults: all(message.attribute_proto, |message| attribute(message, &name))?,
        nodes: all(message.node, node)?,
        opsets: opsets(message.opset_import),
        value_info: values(message.value_info),
        doc_string: Text(message.doc_string),
        metadata: Metadata(message.metadata_props),
    })
}

fn training(message: proto::TrainingInfoProto) -> Result<Training, ReadError> {
    Ok(Training {
        initialization: message.initialization.map(graph).transpose()?,
        algorithm: message.algorithm.map(graph).transpose()?,
        initialization_binding: Metadata(message.initialization_binding),
        update_binding: Metadata(message.update_binding),
    })
}

fn graph(message: proto::GraphProto) -> Result<Graph, ReadError> {
    let mut graph = Graph {
        name: Text(message.name),
        nodes: all(message.node, node)?,
        inputs: values(message.input),
        outputs: values(message.output),
        sparse_initializers: message.sparse_initializer.into_iter().map(sparse).collect(),
        value_info: values(message.value_info),
        quantization: message.quantization_annotation.into_iter().map(annotation).collect(),
        doc_string: Text(message.doc_string),
        metadata: Metadata(message.metadata_props),
        ..Graph::default()
    };
    for mut tensor in message.initializer {
        let name = tensor.name.take().filter(|name| !name.is_empty()).ok_or(ReadError::NoName)?;
        if graph.initializers.contains_key(&name) {
            return Err(ReadError::Duplicate(name));
        }
        graph.initializers.insert(name, Tensor(tensor));
    }
    Ok(graph)
}

fn annotation(message: proto::TensorAnnotation) -> QuantizationAnnotation {
    QuantizationAnnotation {
        tensor: Text(message.tensor_name),
        parameters: Metadata(message.quant_parameter_tensor_names),
    }
}

fn sparse(message: proto::SparseTensorProto) -> SparseTensor {
    let (values, indices) = (message.values.map(Tensor), message.indices.map(Tensor));
    SparseTensor { values, indices, dims: message.dims }
}

fn values(messages: Vec<proto::ValueInfoProto>) -> Vec<ValueInfo> {
    let value = |message: proto::ValueInfoProto| ValueInfo {
        name: Text(message.name),
        kind: message.r#type.map(Type),
        doc_string: Text(message.doc_string),
        metadata: Metadata(message.metadata_props),
    };
    messages.into_iter().map(value).collect()
}

fn node(message: proto::NodeProto) -> Result<Node, ReadError> {
    let name = if message.name().is_empty() { message.op_type() } else { message.name() }.to_owned();
    Ok(Node {
        name: Text(message.name),
        op: Text(message.op_type),
        domain: Text(message.domain),
        overload: Text(message.overload),
        inputs: message.input,
        outputs: message.output,
        attributes: all(message.attribute, |message| attribute(message, &name))?,
        doc_string: Text(message.doc_string),
        metadata: Metadata(message.metadata_props),
        devices: message.device_configurations,
    })
}

fn attribute(mut message: proto::AttributeProto, node: &str) -> Result<Attribute, ReadError> {
    let error = |name: &Text| ReadError::Attribute { node: node.into(), attribute: name.to_string() };
    let (name, doc_string) = (Text(message.name.take()), Text(message.doc_string.take()));
    let declared = message.r#type.take();
    let value = value(&mut message, declared)?.filter(|_| message == proto::AttributeProto::default());
    match value {
        Some(value) => Ok(Attribute { value, name, doc_string, declared: declared.is_some() }),
        None => Err(error(&name)),
    }
}

/// Takes the value out of the message, so that nothing is left in it.
fn value(message: &mut proto::AttributeProto, declared: Option<i32>) -> Result<Option<Value>, ReadError> {
    use AttributeType as Kind;
    if let (Some(name), kind) = (message.ref_attr_name.take(), declared.unwrap_or_default()) {
        return Ok(Some(Value::Reference { name, kind }));
    }
    let kind = declared.map_or_else(|| Ok(found(message)), Kind::try_from).unwrap_or(Kind::Undefined);

    Ok(match kind {
        Kind::Undefined => None,
        Kind::Float => message.f.take().map(Value::Float),
        Kind::Int => message.i.take().map(Value::Int),
        Kind::String => message.s.take().map(Value::String),
        Kind::Tensor => message.t.take().map(|tensor| Value::Tensor(Tensor(tensor))),
        Kind::Graph => message.g.take().map(graph).transpose()?.map(Value::Graph),
        Kind::SparseTensor => message.sparse_tensor.take().map(|tensor| Value::SparseTensor(sparse(tensor))),
        Kind::TypeProto => message.tp.take().map(|kind| Value::Type(Type(kind))),
        Kind::Floats => Some(Value::Floats(take(&mut message.floats))),
        Kind::Ints => Some(Value::Ints(take(&mut message.ints))),
        Kind::Strings => Some(Value::Strings(take(&mut message.strings))),
        Kind::Tensors => Some(Value::Tensors(take(&mut message.tensors).into_iter().map(Tensor).collect())),
        Kind::Graphs => Some(Value::Graphs(all(take(&mut message.graphs), graph)?)),
        Kind::SparseTensors => {
            Some(Value::SparseTensors(take(&mut message.sparse_tensors).into_iter().map(sparse).collect()))
        }
        Kind::TypeProtos => {
            Some(Value::Types(take(&mut message.type_protos).into_iter().map(Type).collect()))
        }
    })
}

/// The kind of the value in a message that does not say it, as in the first versions of the format.
fn found(message: &proto::AttributeProto) -> AttributeType {
    use AttributeType as Kind;
    let kinds = [
        (message.f.is_some(), Kind::Float),
        (message.i.is_some(), Kind::Int),
        (message.s.is_some(), Kind::String),
        (message.t.is_some(), Kind::Tensor),
        (message.g.is_some(), Kind::Graph),
        (message.sparse_tensor.is_some(), Kind::SparseTensor),
        (message.tp.is_some(), Kind::TypeProto),
        (!message.floats.is_empty(), Kind::Floats),
        (!message.ints.is_empty(), Kind::Ints),
        (!message.strings.is_empty(), Kind::Strings),
        (!message.tensors.is_empty(), Kind::Tensors),
        (!message.graphs.is_empty(), Kind::Graphs),
        (!message.sparse_tensors.is_empty(), Kind::SparseTensors),
        (!message.type_protos.is_empty(), Kind::TypeProtos),
    ];
    kinds.into_iter().find(|(present, _)| *present).map_or(Kind::Undefined, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::path::Path;

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;
    use crate::onnx::write;

    /// Models of a folder: as they are, packed, or several in an archive.
    fn models(folder: &str) -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut models = Vec::new();
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.to_str().unwrap().to_owned();
            let file = || fs::File::open(&path).unwrap();
            if name.ends_with(".tar.gz") {
                for entry in Archive::new(GzDecoder::new(file())).entries().unwrap() {
                    let entry = entry.unwrap();
                    let name = entry.path().unwrap().to_str().unwrap().to_owned();
                    models.push((name, all(entry)));
                }
            } else if let Some(unpacked) = name.strip_suffix(".gz") {
                models.push((unpacked.to_owned(), all(GzDecoder::new(file()))));
            } else {
                models.push((name, all(file())));
            }
        }
        models.retain(|(name, _)| name.ends_with(".onnx"));
        models
    }

    fn all(mut from: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Files of this package and of both exporters of PyTorch give the message that they were.
    #[test]
    fn the_message_is_the_same_once_read_and_written() {
        let folders = ["tests/onnx_files", "../infer/tests/attention", "../infer/tests/passes"];
        let models: Vec<_> = folders.into_iter().flat_map(models).collect();
        assert!(models.len() >= 16, "{}", models.len());
        for (name, bytes) in models {
            let message = proto::ModelProto::decode(&bytes[..]).unwrap();
            // The bytes, for what is not a number does not equal itself.
            let again = write::model(model(message.clone()).unwrap());
            assert!(again.encode_to_vec() == message.encode_to_vec(), "{name}");
        }
    }

    #[test]
    fn what_has_not_one_value_is_named() {
        let two =
            proto::AttributeProto { i: Some(1), f: Some(1.0), name: Some("a".into()), ..Default::default() };
        let unknown =
            proto::AttributeProto { r#type: Some(77), name: Some("a".into()), ..Default::default() };
        for attribute in [two, unknown] {
            let node =
                proto::NodeProto { attribute: vec![attribute], name: Some("n".into()), ..Default::default() };
            let error = super::node(node).unwrap_err().to_string();
            assert_eq!(error, "the attribute a of n has not one value of a known kind");
        }
    }

    #[test]
    fn a_file_without_a_graph_is_refused() {
        for bytes in [vec![], proto::ModelProto { ir_version: Some(8), ..Default::default() }.encode_to_vec()]
        {
            let error = Model::from_slice(&bytes).unwrap_err().to_string();
            assert_eq!(error, "not an ONNX file: it has no graph");
        }
    }

    #[test]
    fn initializers_of_one_name_are_refused() {
        let tensor = proto::TensorProto { name: Some("w".into()), ..Default::default() };
        let twice = proto::GraphProto { initializer: vec![tensor.clone(), tensor], ..Default::default() };
        assert_eq!(graph(twice).unwrap_err().to_string(), "there are two initializers w");
    }
}
