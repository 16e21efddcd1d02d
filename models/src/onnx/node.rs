//! Operators with their operands.

use super::attribute::{Attribute, Value};
use super::graph::Graph;
use super::proto::NodeDeviceConfigurationProto;
use super::tensor::Tensor;
use super::text::{Metadata, Text};

/// An operator with its operands and results.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Unique, hierarchical name: `/backbone/layer1/0/conv1/Conv`.
    pub name: Text,
    /// Name of the operator, or of the function.
    pub op: Text,
    /// Domain of the operator; empty for the standard operators.
    pub domain: Text,
    /// Which of several functions of one name.
    pub overload: Text,
    /// Names of values and initializers; empty for an operand that is left out.
    pub inputs: Vec<String>,
    /// Names of the results; empty for a result that nobody wants.
    pub outputs: Vec<String>,
    /// Constants of the operator, in the order of the file.
    pub attributes: Vec<Attribute>,
    /// Description for people.
    pub doc_string: Text,
    /// Entries for other programs.
    pub metadata: Metadata,
    /// Devices that the operator is spread over.
    pub(super) devices: Vec<NodeDeviceConfigurationProto>,
}

impl Node {
    /// The standard operator `op`, without a name.
    pub fn new<I: Into<String>, O: Into<String>>(
        op: &str,
        inputs: impl IntoIterator<Item = I>,
        outputs: impl IntoIterator<Item = O>,
    ) -> Self {
        let inputs = inputs.into_iter().map(Into::into).collect();
        let outputs = outputs.into_iter().map(Into::into).collect();
        Self { op: op.into(), inputs, outputs, ..Self::default() }
    }

    /// The node with a name.
    pub fn named(self, name: impl Into<Text>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The node with one attribute more.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.attributes.push(Attribute::new(name, value));
        self
    }

    /// The operator's name if it is one of the standard domain (`""` or `ai.onnx`), else nothing: an operator of another
    /// domain may compute anything, whatever it is called.
    pub fn standard(&self) -> &str {
        if matches!(&*self.domain, "" | "ai.onnx") { &self.op } else { "" }
    }

    /// True if this is the standard operator `op`.
    pub fn is(&self, op: &str) -> bool {
        self.standard() == op
    }

    /// The operand at `at`, unless it is left out.
    pub fn input(&self, at: usize) -> Option<&str> {
        self.inputs.get(at).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The result at `at`, unless nobody wants it.
    pub fn output(&self, at: usize) -> Option<&str> {
        self.outputs.get(at).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The result of a node that has just one.
    pub fn only_output(&self) -> Option<&str> {
        let others = self.outputs.iter().skip(1).any(|name| !name.is_empty());
        self.output(0).filter(|_| !others)
    }

    /// The value of the attribute `name`.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| &attribute.value)
    }

    /// The number `name`, or `default` where there is no such attribute; none where it is of another kind.
    pub fn int(&self, name: &str, default: i64) -> Option<i64> {
        match self.attribute(name) {
            Some(Value::Int(value)) => Some(*value),
            Some(_) => None,
            None => Some(default),
        }
    }

    /// The real number `name`, or `default` where there is no such attribute; none where it is of another kind.
    pub fn float(&self, name: &str, default: f32) -> Option<f32> {
        match self.attribute(name) {
            Some(Value::Float(value)) => Some(*value),
            Some(_) => None,
            None => Some(default),
        }
    }

    /// The numbers `name`, or `default` where there is no such attribute; none where they are of another kind.
    pub fn ints<'a>(&'a self, name: &str, default: &'a [i64]) -> Option<&'a [i64]> {
        match self.attribute(name) {
            Some(Value::Ints(values)) => Some(values),
            Some(_) => None,
            None => Some(default),
        }
    }

    /// The text `name`, or `default` where there is no such attribute; none where it is of another kind.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> Option<&'a str> {
        match self.attribute(name) {
            Some(Value::String(text)) => str::from_utf8(text).ok(),
            Some(_) => None,
            None => Some(default),
        }
    }

    /// Graphs inside the node: branches of an `If`, bodies of loops.
    pub fn graphs(&self) -> impl Iterator<Item = &Graph> {
        self.attributes.iter().flat_map(Attribute::graphs)
    }

    /// Values that the node reads: its operands, and what the graphs inside it read from outside.
    pub fn reads(&self) -> Vec<&str> {
        let operands = self.inputs.iter().map(String::as_str).filter(|name| !name.is_empty());
        operands.chain(self.graphs().flat_map(Graph::captures)).collect()
    }

    /// Calls `visit` with every tensor among the attributes, under the node's name.
    pub(super) fn each_tensor<E>(
        &mut self,
        visit: &mut dyn FnMut(&str, &mut Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        for attribute in &mut self.attributes {
            match &mut attribute.value {
                Value::Tensor(tensor) => visit(&self.name, tensor)?,
                Value::Tensors(tensors) => {
                    tensors.iter_mut().try_for_each(|tensor| visit(&self.name, tensor))?;
                }
                Value::SparseTensor(tensor) => tensor.each_tensor(visit)?,
                Value::SparseTensors(all) => {
                    all.iter_mut().try_for_each(|tensor| tensor.each_tensor(visit))?;
                }
                _ => attribute.graphs_mut().iter_mut().try_for_each(|graph| graph.each_tensor(visit))?,
            }
        }
        Ok(())
    }

    /// Reads other values: `renamed` gives the new name of each that changes, in the graphs inside the node too.
    pub fn rename_reads(&mut self, renamed: &dyn Fn(&str) -> Option<String>) {
        for name in self.inputs.iter_mut().filter(|name| !name.is_empty()) {
            if let Some(new) = renamed(name) {
                *name = new;
            }
        }
        for graph in self.attributes.iter_mut().flat_map(Attribute::graphs_mut) {
            graph.rename_captures(renamed);
        }
    }
}
