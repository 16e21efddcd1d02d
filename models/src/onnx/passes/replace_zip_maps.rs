//! Outputs of scikit-learn's converter: maps from class to score become the tensor of scores that they are made of.

use crate::onnx::element::Element;
use crate::onnx::model::Model;
use crate::onnx::node::Node;
use crate::onnx::types::{Dim, ValueInfo};

/// Replaces each output of [`ZipMap`](https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html), a sequence of maps, by
/// its input, `[N, classes]` floats; returns how many there were.
///
/// The classes stay where they are: [`class_labels`](crate::onnx::output_values::class_labels) of the model as it was
/// gives their order.
pub fn replace_zip_maps(model: &mut Model) -> usize {
    let graph = &mut model.graph;
    let mut replaced = 0;
    for node in &mut graph.nodes {
        if node.op != "ZipMap" || node.domain != "ai.onnx.ml" {
            continue;
        }
        let (Some(scores), Some(maps)) = (node.input(0), node.output(0)) else { continue };
        let (scores, maps) = (scores.to_owned(), maps.to_owned());
        let name = node.name.to_string();
        *node = Node::new("Identity", [scores], [maps.clone()]).named(name);
        let shape = ["batch", "classes"].map(|dim| Dim::Symbol(dim.into()));
        for info in graph.outputs.iter_mut().chain(&mut graph.value_info).filter(|info| info.name == maps) {
            info.kind = ValueInfo::tensor(&maps, Element::Float, shape.clone()).kind;
        }
        replaced += 1;
    }
    replaced
}
