//! Values in the middle of a graph as further outputs, to look at them.

use std::collections::HashSet;

use crate::onnx::graph::{Attribute, Dim, Element, Graph, Node, ValueInfo};
use crate::onnx::trace::BATCH;

/// A value in the middle of a graph that has become an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Its name.
    pub value: String,
    /// The node that computes it.
    pub node: String,
    /// The output that gives it, in floats.
    pub output: String,
    /// The closest values before it that are exposed too.
    pub from: Vec<String>,
}

/// Makes those of `values` (with their shapes) that the graph computes further outputs, in the graph's order.
///
/// A value that is quantised is given as its readers see it, after quantisation. Runtimes merge fewer operators when
/// they must give everything: what is seen is what the graph says, not how fast it can be done.
pub fn expose(graph: &mut Graph, values: &[(String, Vec<usize>)]) -> Vec<Exposed> {
    let elements = graph.elements();
    let known: HashSet<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
    let mut exposed = Vec::new();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Some((value, shape)) = values.iter().find(|(name, _)| *name == node.output) else { continue };
        let seen = after_quantisation(graph, value).unwrap_or(value);
        let mut found = Exposed {
            value: value.clone(),
            node: node.name.clone(),
            output: seen.into(),
            from: known_before(graph, node, &known),
        };
        if elements.get(seen) == Some(&Element::Float16) {
            found.output = format!("{seen}_seen");
            let cast = Node {
                name: format!("{seen}_seen/Cast"),
                op: "Cast",
                inputs: vec![seen.into()],
                output: found.output.clone(),
                attributes: vec![("to", Attribute::Int(Element::Float.code()))],
            };
            graph.nodes.push(cast);
        }
        if !graph.outputs.iter().any(|output| output.name == found.output) {
            let rest = shape[1..].iter().map(|&size| Dim::Fixed(size));
            let shape = std::iter::once(Dim::Symbol(BATCH.into())).chain(rest).collect();
            graph.outputs.push(ValueInfo { name: found.output.clone(), element: Element::Float, shape });
        }
        exposed.push(found);
    }
    exposed
}

/// What comes out where `value` is quantised and goes on in floats.
fn after_quantisation<'g>(graph: &'g Graph, value: &str) -> Option<&'g str> {
    let reads = |op: &'static str, name: &str| {
        let found = graph.nodes.iter().find(|node| node.op == op && node.inputs[0] == name);
        found.map(|node| node.output.as_str())
    };
    reads("DequantizeLinear", reads("QuantizeLinear", value)?)
}

/// The closest values before `node` that are `known`.
fn known_before(graph: &Graph, node: &Node, known: &HashSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<&String> = node.inputs.iter().collect();
    while let Some(name) = open.pop() {
        if known.contains(name.as_str()) {
            found.push(name.clone());
        } else if let Some(node) = graph.nodes.iter().find(|node| node.output == *name) {
            open.extend(&node.inputs);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Attention, Cbam};
    use crate::onnx::passes::half_precision;
    use crate::onnx::{Interface, Opset, trace};
    use crate::testing;

    #[test]
    fn values_are_floats_and_know_what_they_come_from() {
        let cbam = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 });
        let weights = testing::weights(&cbam, &[1, 16, 4, 4]).unwrap();
        let mut graph = trace(&cbam, &weights, &Interface::new([16, 4, 4]), Opset::default()).unwrap();
        half_precision(&mut graph).unwrap();
        let value = |name: &str, shape: [usize; 4]| (format!("/cbam/{name}_output_0"), shape.to_vec());
        let values = [
            value("channel_attn/Mul", [1, 16, 4, 4]),
            value("spatial_attn/ReduceMean", [1, 1, 4, 4]),
            value("spatial_attn/Concat", [1, 1, 4, 4]),
            value("nowhere", [1, 1, 1, 1]),
        ];
        let exposed = expose(&mut graph, &values);
        let nodes: Vec<_> = exposed.iter().map(|exposed| exposed.node.as_str()).collect();
        let [mul, mean, concat] = nodes[..] else { panic!("{nodes:?}") };
        assert_eq!(mul, "/cbam/channel_attn/Mul");
        assert_eq!(mean, "/cbam/spatial_attn/ReduceMean");
        assert_eq!(concat, "/cbam/spatial_attn/Concat");
        assert_eq!(exposed[1].from, [values[0].0.clone()]);
        assert_eq!(exposed[2].from.len(), 2, "the maximum is not known, and comes from the product");
        let elements = graph.elements();
        assert_eq!(graph.outputs.len(), 4);
        assert!(graph.outputs.iter().all(|output| elements[&output.name] == Element::Float));
    }
}
