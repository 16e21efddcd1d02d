//! Equal initializers made one.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::onnx::graph::Graph;
use crate::onnx::model::Model;
use crate::onnx::tensor::Tensor;

/// Makes one of initializers that are equal: the first stays, and is read in the place of the others.
///
/// Those that `is_parameter` names keep their own, for parameters are known by their names. So do those that can be fed or
/// fetched, or have annotations of quantisation.
pub fn deduplicate_initializers(model: &mut Model, is_parameter: impl Fn(&str) -> bool) {
    model.edit(|model| {
        let bound: Vec<String> = model.training_reads().map(str::to_owned).collect();
        let graph = &mut model.graph;
        let keeps_name =
            |name: &str| is_parameter(name) || is_known(graph, name) || bound.iter().any(|b| b == name);
        let mut first: HashMap<_, &str> = HashMap::new();
        let mut shared: HashMap<String, String> = HashMap::new();
        for (name, tensor) in graph.initializers.iter().filter(|(name, _)| !keeps_name(name)) {
            let Some(content) = content(tensor) else { continue };
            let kept = *first.entry(content).or_insert(name);
            if kept != name {
                shared.insert(name.clone(), kept.into());
            }
        }
        graph.nodes.iter_mut().for_each(|node| node.rename_reads(&|name| shared.get(name).cloned()));
        graph.initializers.retain(|name, _| !shared.contains_key(name));
        graph.value_info.retain(|info| !shared.contains_key(&*info.name));
    });
}

/// True if others than nodes know the initializer by its name.
fn is_known(graph: &Graph, name: &str) -> bool {
    let annotated = graph.quantization.iter().any(|annotation| {
        annotation.tensor == *name || annotation.parameters.iter().any(|(_, parameter)| parameter == name)
    });
    annotated || graph.is_input(name) || graph.is_output(name)
}

/// Code of the element type, dimensions and bytes of a tensor.
type Content<'a> = (i32, &'a [i64], Cow<'a, [u8]>);

/// Content by which tensors are compared; `None` for one whose bytes cannot be read.
fn content(tensor: &Tensor) -> Option<Content<'_>> {
    Some((tensor.element().code(), tensor.dims(), tensor.bytes().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{BatchNorm2d, Conv2d};
    use crate::onnx::{Interface, Node, Opset, passes, trace};
    use crate::{Module, Ops, testing};

    struct Network;

    impl Module for Network {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let x = ops.batch_norm(x, &BatchNorm2d::new("bn", 3))?;
            ops.conv2d(&ops.relu(&x)?, &Conv2d::new("conv", 3, 4, 1))
        }
    }

    #[test]
    fn equal_constants_are_one_and_parameters_keep_their_names() {
        let mut weights = testing::weights(&Network, &[1, 3, 4, 4]).unwrap();
        weights["bn.bias"] = weights["bn.running_mean"].clone();
        let interface = Interface::new([3, 4, 4]);
        let mut model = trace(&Network, &weights, &interface, Opset::default()).unwrap();
        let ranges = passes::quantized_values(&model).into_iter().map(|name| (name, (0.0, 1.0))).collect();
        passes::quantize(&mut model, &ranges).unwrap();
        passes::embed_preprocessing(&mut model, &[0.5; 3], &[0.5; 3]).unwrap();
        let before = model.graph.initializers.len();
        deduplicate_initializers(&mut model, |name| weights.contains_key(name));
        let graph = &model.graph;
        assert_eq!(graph.initializers.len(), before - 1, "mean and deviation");
        assert!(
            graph.initializers.contains_key("input.mean") && !graph.initializers.contains_key("input.std")
        );
        let divided = graph.node("/input/Div_1").unwrap();
        assert_eq!(divided.inputs[1], "input.mean");
        for name in ["bn.bias", "bn.running_mean"] {
            assert!(graph.initializers.contains_key(name), "{name}");
        }
    }

    /// A name inside a branch that hides one outside is another value.
    #[test]
    fn inner_graphs_read_the_one_that_stays() {
        let one = || Tensor::scalar(1.0_f32);
        let inner = |own: &[&str]| Graph {
            nodes: vec![Node::new("Add", ["a", "b"], ["sum"])],
            initializers: own.iter().map(|&name| (name.to_owned(), one())).collect(),
            ..Graph::default()
        };
        let node =
            Node::new("If", ["c"], ["y"]).with("then_branch", inner(&[])).with("else_branch", inner(&["b"]));
        let mut model = Model::new(Opset::default());
        model.graph.nodes = vec![node];
        model.graph.initializers = ["a", "b"].map(|name| (name.to_owned(), one())).into();
        deduplicate_initializers(&mut model, |_| false);
        let sums: Vec<_> =
            model.graph.nodes[0].graphs().map(|graph| graph.nodes[0].inputs.join(" ")).collect();
        assert_eq!(sums, ["a a", "a b"]);
        assert_eq!(model.graph.initializers.keys().collect::<Vec<_>>(), ["a"]);
    }
}
