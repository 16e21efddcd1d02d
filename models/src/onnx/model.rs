//! Models: a graph with the versions of its operators, functions and metadata.

use std::collections::HashMap;

use super::Opset;
use super::attribute::Attribute;
use super::graph::Graph;
use super::node::Node;
use super::proto::DeviceConfigurationProto;
use super::tensor::Tensor;
use super::text::{Metadata, Text};
use super::types::{Dim, ValueInfo};

/// Producer named in every file.
pub const PRODUCER: &str = "ferronnx";

/// A model: all that an `.onnx` file holds
/// ([specification](https://onnx.ai/onnx/repo-docs/IR.html#models)).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// Version of the format.
    pub ir_version: Option<i64>,
    /// Versions of the operators, by domain.
    pub opsets: Vec<OpsetImport>,
    /// Program that wrote the file.
    pub producer: Text,
    /// Version of that program.
    pub producer_version: Text,
    /// Namespace of the model, in reverse DNS notation.
    pub domain: Text,
    /// Version of the model.
    pub model_version: Option<i64>,
    /// Description for people.
    pub doc_string: Text,
    /// The graph that is run.
    pub graph: Graph,
    /// Functions that nodes may call like operators.
    pub functions: Vec<Function>,
    /// Entries for other programs.
    pub metadata: Metadata,
    /// Graphs by which the model can be trained on.
    pub training: Vec<Training>,
    /// Groups of devices that operators may be spread over.
    pub(super) configurations: Vec<DeviceConfigurationProto>,
}

/// Version of the operators of a domain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OpsetImport {
    /// Domain of the operators; empty for the standard ones.
    pub domain: Text,
    /// Version of the domain's operators.
    pub version: Option<i64>,
}

/// A function made of operators
/// ([specification](https://onnx.ai/onnx/repo-docs/IR.html#functions)).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Function {
    /// Name by which nodes call it.
    pub name: Text,
    /// Domain by which nodes call it.
    pub domain: Text,
    /// Which of several functions of one name.
    pub overload: Text,
    /// Names of the operands.
    pub inputs: Vec<String>,
    /// Names of the results.
    pub outputs: Vec<String>,
    /// Names of attributes without default.
    pub attributes: Vec<String>,
    /// Attributes with their defaults.
    pub defaults: Vec<Attribute>,
    /// The operators in topological order.
    pub nodes: Vec<Node>,
    /// Versions of the operators, by domain.
    pub opsets: Vec<OpsetImport>,
    /// Types of values, as far as they are known.
    pub value_info: Vec<ValueInfo>,
    /// Description for people.
    pub doc_string: Text,
    /// Entries for other programs.
    pub metadata: Metadata,
}

/// Graphs by which a model can be trained on. They may read and replace initializers of the model's graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Training {
    /// Graph that computes the initial values of the trained tensors (`TrainingInfoProto.initialization`).
    pub initialization: Option<Graph>,
    /// A step of training.
    pub algorithm: Option<Graph>,
    /// Initializers, each with the output of `initialization` that becomes its value.
    pub initialization_binding: Metadata,
    /// Initializers, each with the output of `algorithm` that becomes its value.
    pub update_binding: Metadata,
}

impl Model {
    /// An empty graph of operators of this version, written by this program.
    pub fn new(opset: Opset) -> Self {
        Self {
            ir_version: Some(opset.ir_version()),
            opsets: vec![OpsetImport { domain: "".into(), version: Some(opset.version().into()) }],
            producer: PRODUCER.into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Graph { name: PRODUCER.into(), ..Graph::default() },
            ..Self::default()
        }
    }

    /// Version of the standard operators.
    pub fn opset(&self) -> Option<i64> {
        self.opsets.iter().find(|opset| matches!(&*opset.domain, "" | "ai.onnx"))?.version
    }

    /// Names of the graph's values that training reads or replaces.
    pub(super) fn training_reads(&self) -> impl Iterator<Item = &str> {
        self.training.iter().flat_map(|training| {
            let graphs = training.initialization.iter().chain(&training.algorithm);
            let bindings = training.initialization_binding.iter().chain(training.update_binding.iter());
            graphs.flat_map(Graph::captures).chain(bindings.map(|(initializer, _)| initializer))
        })
    }

    /// Calls `visit` with the name and the tensor of everything that has values: initializers, sparse ones, and attributes,
    /// in all graphs and functions.
    pub(super) fn each_tensor<E>(
        &mut self,
        visit: &mut dyn FnMut(&str, &mut Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        self.graph.each_tensor(visit)?;
        for node in self.functions.iter_mut().flat_map(|function| &mut function.nodes) {
            node.each_tensor(visit)?;
        }
        for training in &mut self.training {
            for graph in training.initialization.iter_mut().chain(&mut training.algorithm) {
                graph.each_tensor(visit)?;
            }
        }
        Ok(())
    }

    /// Changes the model by `pass`, during which an input that is an initializer too is one that the caller may replace.
    ///
    /// Before IR version 4 all initializers are listed as inputs though they are constants. They are taken off that list
    /// for the pass; afterwards those that are left and those that are new are on it.
    pub(super) fn edit<R>(&mut self, pass: impl FnOnce(&mut Self) -> R) -> R {
        if self.ir_version.is_none_or(|version| version >= 4) {
            return pass(self);
        }
        let listed = std::mem::take(&mut self.graph.inputs);
        let order: Vec<String> = listed.iter().map(|input| input.name.to_string()).collect();
        let (constants, inputs): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|input| self.graph.initializers.contains_key(&*input.name));
        self.graph.inputs = inputs;
        let result = pass(self);

        let mut known: HashMap<String, ValueInfo> =
            constants.into_iter().map(|info| (info.name.to_string(), info)).collect();
        let constants = self.graph.initializers.iter().map(|(name, tensor)| {
            let kept = known.remove(name).filter(|info| info.element() == Some(tensor.element()));
            kept.unwrap_or_else(|| listing(name, tensor))
        });
        let mut inputs: Vec<_> = self.graph.inputs.drain(..).chain(constants).collect();
        let place = |input: &ValueInfo| order.iter().position(|name| input.name == *name);
        inputs.sort_by_key(|input| place(input).unwrap_or(order.len()));
        self.graph.inputs = inputs;
        result
    }
}

/// The input that lists an initializer.
fn listing(name: &str, tensor: &Tensor) -> ValueInfo {
    let size = |&size: &i64| Dim::Fixed(usize::try_from(size).unwrap_or(0));
    ValueInfo::tensor(name, tensor.element(), tensor.dims().iter().map(size))
}
