//! What nothing reads is not written.

use std::collections::HashSet;

use crate::onnx::graph::Graph;

/// Removes nodes and initializers from which no output follows.
pub fn remove_unused(graph: &mut Graph) {
    let mut used: HashSet<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
    // Nodes are in topological order: from the end, every reader is seen before what it reads.
    let mut keep: Vec<bool> = vec![false; graph.nodes.len()];
    for (node, keep) in graph.nodes.iter().zip(&mut keep).rev() {
        *keep = used.contains(&node.output);
        if *keep {
            used.extend(node.inputs.iter().cloned());
        }
    }
    let mut keep = keep.into_iter();
    graph.nodes.retain(|_| keep.next().unwrap_or(true));
    graph.initializers.retain(|name, _| used.contains(name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::Opset;
    use crate::onnx::graph::{Attribute, Dim, Element, Initializer, Node, ValueInfo};
    use ndarray::arr1;

    #[test]
    fn removes_a_chain_that_leads_nowhere() {
        let value =
            |name: &str| ValueInfo { name: name.into(), element: Element::Float, shape: vec![Dim::Fixed(1)] };
        let node = |op: &'static str, inputs: &[&str], output: &str| Node {
            name: output.into(),
            op,
            inputs: inputs.iter().map(|&name| name.into()).collect(),
            output: output.into(),
            attributes: vec![("axis", Attribute::Int(0))],
        };
        let mut graph = Graph {
            opset: Opset::default(),
            inputs: vec![value("x")],
            outputs: vec![value("y")],
            nodes: vec![
                node("Unsqueeze", &["x", "dead_axes"], "a"),
                node("Relu", &["a"], "b"),
                node("Unsqueeze", &["x", "axes"], "y"),
            ],
            initializers: ["dead_axes", "axes"]
                .map(|name| (name.into(), Initializer::Int64(arr1(&[0]).into_dyn())))
                .into(),
        };
        remove_unused(&mut graph);
        assert_eq!(graph.nodes.iter().map(|node| &node.output).collect::<Vec<_>>(), ["y"]);
        assert_eq!(graph.initializers.keys().collect::<Vec<_>>(), ["axes"]);
    }
}
