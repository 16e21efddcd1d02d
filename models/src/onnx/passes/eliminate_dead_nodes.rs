//! Removal of nodes and initializers that nothing reads.

use std::collections::HashSet;

use crate::onnx::graph::Graph;
use crate::onnx::index::Index;
use crate::onnx::model::Model;

/// Removes nodes and initializers from which no output follows, with the types and annotations that belonged to them.
///
/// Values that a graph inside a live node reads are live, and so is what training reads. An initializer that is an input
/// too stays, for the caller may know it; before IR version 4, where every initializer is one, the input goes with it.
pub fn eliminate_dead_nodes(model: &mut Model) {
    model.edit(|model| {
        let (nodes, values) = live(&model.graph, model.training_reads());
        let graph = &mut model.graph;
        let mut at = 0..;
        graph.nodes.retain(|_| at.next().is_some_and(|at| nodes.contains(&at)));
        graph.initializers.retain(|name, _| values.contains(name));
        graph.sparse_initializers.retain(|tensor| values.contains(tensor.name()));
        let defined: HashSet<String> = graph.definitions().map(str::to_owned).collect();
        graph.value_info.retain(|info| defined.contains(&*info.name));
        graph.quantization.retain(|annotation| defined.contains(&*annotation.tensor));
    });
}

/// Nodes and values that an output, or one of `more`, follows from.
fn live<'g>(graph: &'g Graph, more: impl Iterator<Item = &'g str>) -> (HashSet<usize>, HashSet<String>) {
    let index = Index::new(graph);
    let given = graph.outputs.iter().map(|output| &*output.name);
    let fed = graph.inputs.iter().map(|input| &*input.name);
    let mut open: Vec<&str> = given.chain(fed).chain(more).collect();
    let (mut nodes, mut values) = (HashSet::new(), HashSet::new());
    // A node without results must have another purpose.
    for (at, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.outputs.is_empty()) {
        nodes.insert(at);
        open.extend(node.reads());
    }
    while let Some(name) = open.pop() {
        if !values.insert(name.to_owned()) {
            continue;
        }
        if let Some(at) = index.producer(name).filter(|&at| nodes.insert(at)) {
            open.extend(index.node(at).reads());
        }
        let annotations = graph.quantization.iter().filter(|annotation| annotation.tensor == *name);
        open.extend(annotations.flat_map(|annotation| annotation.parameters.iter().map(|(_, name)| name)));
    }
    (nodes, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Dim, Element, Node, Opset, Tensor, ValueInfo};
    use ndarray::arr1;

    fn value(name: &str) -> ValueInfo {
        ValueInfo::tensor(name, Element::Float, [Dim::Fixed(1)])
    }

    fn axes() -> Tensor {
        arr1(&[0_i64]).into_dyn().into()
    }

    fn model(nodes: Vec<Node>, initializers: &[&str]) -> Model {
        let mut model = Model::new(Opset::default());
        let graph = &mut model.graph;
        (graph.inputs, graph.outputs, graph.nodes) = (vec![value("x")], vec![value("y")], nodes);
        graph.initializers = initializers.iter().map(|&name| (name.to_owned(), axes())).collect();
        model
    }

    fn names(model: &Model) -> (Vec<&str>, Vec<&str>) {
        let outputs = model.graph.nodes.iter().map(|node| &node.outputs[0][..]).collect();
        (outputs, model.graph.initializers.keys().map(String::as_str).collect())
    }

    #[test]
    fn removes_a_chain_that_leads_nowhere() {
        let nodes = vec![
            Node::new("Unsqueeze", ["x", "dead_axes"], ["a"]),
            Node::new("Relu", ["a"], ["b"]),
            Node::new("Unsqueeze", ["x", "axes"], ["y"]),
        ];
        let mut model = model(nodes, &["dead_axes", "axes"]);
        model.graph.value_info = vec![value("a"), value("y")];
        eliminate_dead_nodes(&mut model);
        assert_eq!(names(&model), (vec!["y"], vec!["axes"]));
        assert_eq!(model.graph.value_info, [value("y")]);
    }

    /// A branch may read what no operand names; a second result keeps its node; what is left out reads nothing.
    #[test]
    fn values_of_inner_graphs_and_second_results_are_live() {
        let branch = |read: &str| Graph {
            nodes: vec![Node::new("Add", [read, "local"], ["inner"])],
            initializers: [("local".to_owned(), axes())].into(),
            outputs: vec![value("inner")],
            ..Graph::default()
        };
        let condition = Node::new("If", ["cond"], ["z"])
            .with("then_branch", branch("captured"))
            .with("else_branch", branch("weight"));
        let nodes = vec![
            Node::new("Relu", ["x"], ["captured"]),
            Node::new("Relu", ["x"], ["local"]),
            Node::new("Cast", ["x"], ["cond"]),
            condition,
            Node::new("MaxPool", ["z"], ["", "indices"]),
            Node::new("Clip", ["indices", "", "top"], ["y"]),
        ];
        let mut model = model(nodes, &["weight", "top", "unread"]);
        eliminate_dead_nodes(&mut model);
        assert_eq!(names(&model), (vec!["captured", "cond", "z", "", "y"], vec!["weight", "top"]));
    }

    /// Before IR version 4 initializers are inputs, which later ones may be: those the caller may replace.
    #[test]
    fn inputs_of_initializers_go_with_them_in_old_files_only() {
        for (version, left) in [(3, vec!["axes"]), (8, vec!["dead", "axes"])] {
            let mut model = model(vec![Node::new("Unsqueeze", ["x", "axes"], ["y"])], &["dead", "axes"]);
            model.ir_version = Some(version);
            model.graph.inputs = vec![value("dead"), value("axes"), value("x")];
            eliminate_dead_nodes(&mut model);
            assert_eq!(names(&model).1, left);
            let inputs: Vec<_> = model.graph.inputs.iter().map(|input| &*input.name).collect();
            assert_eq!(inputs, [&left[..], &["x"]].concat());
        }
    }
}
