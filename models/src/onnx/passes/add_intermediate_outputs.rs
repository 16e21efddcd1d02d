//! Values in the middle of a graph made outputs, to look at them.

use std::collections::HashSet;

use crate::onnx::element::Element;
use crate::onnx::graph::unique;
use crate::onnx::index::Index;
use crate::onnx::model::Model;
use crate::onnx::node::Node;
use crate::onnx::trace::BATCH;
use crate::onnx::types::{Dim, ValueInfo};

/// A value in the middle of a graph that has become an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntermediateOutput {
    /// Name of the value.
    pub value: String,
    /// Name of the node that computes it.
    pub node: String,
    /// Name of the output that gives it, in 32-bit floats.
    pub output: String,
    /// The closest values before it that are outputs too.
    pub from: Vec<String>,
}

/// Makes those of `values` (with their shapes, `[N, ...]`) that the graph computes further outputs, in the graph's order.
///
/// A value that is quantised is given as its readers see it, after quantisation. Runtimes merge fewer operators when they
/// must give everything: the outputs show what the graph computes, not how fast.
pub fn add_intermediate_outputs(
    model: &mut Model,
    values: &[(String, Vec<usize>)],
) -> Vec<IntermediateOutput> {
    let graph = &model.graph;
    let (types, index) = (graph.element_types(), Index::new(graph));
    let known: HashSet<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
    let mut names = graph.names();
    let (mut found, mut casts, mut outputs): (Vec<_>, Vec<_>, Vec<ValueInfo>) = Default::default();
    for node in &graph.nodes {
        let of_node = |(name, _): &&(String, Vec<usize>)| node.outputs.contains(name);
        let Some((value, shape)) = values.iter().find(of_node) else { continue };
        let seen = after_quantization(&index, value).unwrap_or(value);
        let mut output = seen.to_owned();
        if types.get(seen).is_some_and(|&element| element != Element::Float) {
            output = unique(&format!("{seen}_seen"), &mut names);
            let cast = Node::new("Cast", [seen], [&*output]).named(format!("{output}/Cast"));
            casts.push(cast.with("to", i64::from(Element::Float.code())));
        }
        if !graph.is_output(&output) && outputs.iter().all(|known| known.name != output) {
            let rest = shape.iter().skip(1).map(|&size| Dim::Fixed(size));
            let shape = std::iter::once(Dim::Symbol(BATCH.into())).chain(rest);
            outputs.push(ValueInfo::tensor(&output, Element::Float, shape));
        }
        let from = known_before(&index, node, &known);
        found.push(IntermediateOutput { value: value.clone(), node: node.name.to_string(), output, from });
    }
    model.graph.nodes.extend(casts);
    let is_new = |info: &ValueInfo| outputs.iter().any(|output| output.name == info.name);
    model.graph.value_info.retain(|info| !is_new(info));
    model.graph.outputs.extend(outputs);
    found
}

/// The value as it goes on in floats after it was quantised.
fn after_quantization<'g>(index: &Index<'g>, value: &str) -> Option<&'g str> {
    let reader = |op: &str, name: &str| {
        let mut readers = index.readers(name).iter().map(|&at| index.node(at));
        readers.find(|node| node.is(op) && node.input(0) == Some(name))?.output(0)
    };
    reader("DequantizeLinear", reader("QuantizeLinear", value)?)
}

/// The closest values before `node` that are `known`.
fn known_before(index: &Index<'_>, node: &Node, known: &HashSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = node.reads();
    let mut seen = HashSet::new();
    while let Some(name) = open.pop() {
        if known.contains(name) {
            found.push(name.to_owned());
        } else if let Some(at) = index.producer(name).filter(|&at| seen.insert(at)) {
            open.extend(index.node(at).reads());
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
        let mut model = trace(&cbam, &weights, &Interface::new([16, 4, 4]), Opset::default()).unwrap();
        half_precision(&mut model).unwrap();
        let value = |name: &str, shape: [usize; 4]| (format!("/cbam/{name}_output_0"), shape.to_vec());
        let values = [
            value("channel_attn/Mul", [1, 16, 4, 4]),
            value("spatial_attn/ReduceMean", [1, 1, 4, 4]),
            value("spatial_attn/Concat", [1, 1, 4, 4]),
            value("nowhere", [1, 1, 1, 1]),
        ];
        let exposed = add_intermediate_outputs(&mut model, &values);
        let graph = &model.graph;
        let nodes: Vec<_> = exposed.iter().map(|exposed| exposed.node.as_str()).collect();
        let [mul, mean, concat] = nodes[..] else { panic!("{nodes:?}") };
        assert_eq!(mul, "/cbam/channel_attn/Mul");
        assert_eq!(mean, "/cbam/spatial_attn/ReduceMean");
        assert_eq!(concat, "/cbam/spatial_attn/Concat");
        assert_eq!(exposed[1].from, [values[0].0.clone()]);
        assert_eq!(exposed[2].from.len(), 2, "the maximum is not known, and comes from the product");
        let elements = graph.element_types();
        assert_eq!(graph.outputs.len(), 4);
        assert!(graph.outputs.iter().all(|output| elements[&*output.name] == Element::Float));
    }
}
