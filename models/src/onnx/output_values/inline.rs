//! Graphs without functions and branches: a call is replaced by the function's operators.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::onnx::attribute::{Attribute, Value};
use crate::onnx::graph::Graph;
use crate::onnx::index::constant;
use crate::onnx::model::{Function, Model};
use crate::onnx::node::Node;

/// Domain of [`BRANCH`].
pub const INTERNAL: &str = "ferronnx.internal";

/// Operator that gives one of its operands; nobody knows which until the file runs.
pub const BRANCH: &str = "Branch";

/// The graph of `model`, in which calls of functions and branches of `If` are replaced by their operators.
///
/// The result is for reading: names of inner values are new, and an `If` becomes a [`BRANCH`] of what its branches give.
pub fn inlined(model: &Model) -> Cow<'_, Graph> {
    let key = |function: &Function| {
        [&function.domain, &function.name, &function.overload].map(|text| text.to_string())
    };
    let functions: Functions<'_> = model.functions.iter().map(|function| (key(function), function)).collect();
    if !model.graph.nodes.iter().any(|node| node.is("If") || functions.contains_key(&called(node))) {
        return Cow::Borrowed(&model.graph);
    }
    let mut inliner =
        Inliner { model, functions, left: 1 << 15, count: 0, nodes: Vec::new(), added: Graph::default() };
    inliner.all(&model.graph.nodes, &HashMap::new(), 0);
    let Inliner { nodes, added, .. } = inliner;
    let mut graph = Graph { nodes, ..model.graph.clone() };
    graph.initializers.extend(added.initializers);
    Cow::Owned(graph)
}

/// Functions by domain, name and overload.
type Functions<'m> = HashMap<[String; 3], &'m Function>;

fn called(node: &Node) -> [String; 3] {
    [&node.domain, &node.op, &node.overload].map(|text| text.to_string())
}

/// New names of values inside a function or branch.
type Names = HashMap<String, String>;

struct Inliner<'m> {
    model: &'m Model,
    functions: Functions<'m>,
    /// Nodes that may still be written: functions that call functions can be very many.
    left: usize,
    count: usize,
    nodes: Vec<Node>,
    added: Graph,
}

impl Inliner<'_> {
    fn all(&mut self, nodes: &[Node], names: &Names, depth: usize) {
        nodes.iter().for_each(|node| self.one(node, names, depth));
    }

    fn one(&mut self, node: &Node, names: &Names, depth: usize) {
        /// Functions in functions, which are few in real files.
        const DEEPEST: usize = 16;
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let mut node = node.clone();
        let renamed = |name: &str| names.get(name).cloned();
        node.rename_reads(&renamed);
        for name in &mut node.outputs {
            *name = names.get(name).cloned().unwrap_or_else(|| name.clone());
        }
        match self.functions.get(&called(&node)).copied() {
            Some(function) if depth < DEEPEST => self.call(&node, function, depth),
            None if node.is("If") && depth < DEEPEST => self.branches(&node, depth),
            _ => self.nodes.push(node),
        }
    }

    fn call(&mut self, node: &Node, function: &Function, depth: usize) {
        let mut names = self.fresh(function.nodes.iter().flat_map(|node| &node.outputs));
        let given =
            function.inputs.iter().zip(node.inputs.iter().map(String::as_str).chain(std::iter::repeat("")));
        names.extend(given.map(|(formal, actual)| (formal.clone(), actual.to_owned())));
        let results: Vec<_> = function.outputs.iter().map(|name| names.get(name).cloned()).collect();
        for inner in &function.nodes {
            let mut inner = inner.clone();
            inner.attributes.retain_mut(|attribute| bind(attribute, node, function));
            self.one(&inner, &names, depth + 1);
        }
        for (result, output) in
            results.into_iter().zip(&node.outputs).filter(|(_, output)| !output.is_empty())
        {
            self.nodes.push(Node::new("Identity", result, [output.clone()]).named(node.name.clone()));
        }
    }

    fn branches(&mut self, node: &Node, depth: usize) {
        let mut results = Vec::new();
        for graph in self.taken(node) {
            let defined: Vec<String> = graph.definitions().map(str::to_owned).collect();
            let names = self.fresh(defined.iter());
            let tensors = graph.initializers.iter();
            self.added
                .initializers
                .extend(tensors.map(|(name, tensor)| (names[name].clone(), tensor.clone())));
            self.all(&graph.nodes, &names, depth + 1);
            let result = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.to_owned());
            results.push(graph.outputs.iter().map(|output| result(&output.name)).collect::<Vec<_>>());
        }
        for (at, output) in node.outputs.iter().enumerate().filter(|(_, output)| !output.is_empty()) {
            let operands = results.iter().filter_map(|outputs| outputs.get(at).cloned());
            let branch = Node::new(BRANCH, operands, [output.clone()]).named(node.name.clone());
            self.nodes.push(Node { domain: INTERNAL.into(), ..branch });
        }
    }

    /// Branches that may run: one where the condition is constant.
    fn taken<'n>(&self, node: &'n Node) -> Vec<&'n Graph> {
        let condition = node.input(0).and_then(|name| {
            let given = self.nodes.iter().find(|node| node.output(0) == Some(name)).and_then(constant);
            given.or_else(|| self.model.graph.initializers.get(name).map(Cow::Borrowed))
        });
        let branch = match condition.and_then(|tensor| tensor.bytes().ok()?.first().copied()) {
            Some(0) => "else_branch",
            Some(_) => "then_branch",
            None => return node.graphs().collect(),
        };
        let taken = node.attributes.iter().filter(|attribute| attribute.name == branch);
        taken.flat_map(Attribute::graphs).collect()
    }

    /// A new name for each of these values.
    fn fresh<'a>(&mut self, values: impl Iterator<Item = &'a String>) -> Names {
        self.count += 1;
        let new = |name: &String| (name.clone(), format!("{name}\u{1f}{}", self.count));
        values.filter(|name| !name.is_empty()).map(new).collect()
    }
}

/// Gives an attribute that refers to one of the function its value; false where the call leaves it out.
fn bind(attribute: &mut Attribute, call: &Node, function: &Function) -> bool {
    let Value::Reference { name, .. } = &attribute.value else { return true };
    let default =
        || function.defaults.iter().find(|default| default.name == *name).map(|default| &default.value);
    match call.attribute(name).or_else(default).cloned() {
        Some(value) => {
            attribute.value = value;
            true
        }
        None => false,
    }
}
