//! What is the same is written once.

use std::collections::HashMap;

use crate::onnx::graph::Graph;

/// Makes one of initializers that are equal: the first stays, and is read in the place of the others. Those that
/// `is_parameter` names keep their own, for parameters are known by their names.
pub fn share_constants(graph: &mut Graph, is_parameter: impl Fn(&str) -> bool) {
    let mut shared: HashMap<String, String> = HashMap::new();
    for (index, (name, values)) in graph.initializers.iter().enumerate() {
        if is_parameter(name) {
            continue;
        }
        let before = graph.initializers.iter().take(index);
        let same = before.into_iter().find(|(first, other)| !is_parameter(first) && *other == values);
        if let Some((first, _)) = same {
            shared.insert(name.clone(), first.clone());
        }
    }
    for input in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        if let Some(first) = shared.get(input) {
            input.clone_from(first);
        }
    }
    graph.initializers.retain(|name, _| !shared.contains_key(name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{BatchNorm2d, Conv2d};
    use crate::onnx::{Interface, Opset, passes, trace};
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
        let mut graph = trace(&Network, &weights, &interface, Opset::default()).unwrap();
        let ranges = passes::quantized_values(&graph).into_iter().map(|name| (name, (0.0, 1.0))).collect();
        passes::quantize(&mut graph, &ranges).unwrap();
        passes::bytes_input(&mut graph, &[0.5; 3], &[0.5; 3]);
        let before = graph.initializers.len();
        share_constants(&mut graph, |name| weights.contains_key(name));
        assert_eq!(graph.initializers.len(), before - 1, "mean and deviation");
        assert!(
            graph.initializers.contains_key("input.mean") && !graph.initializers.contains_key("input.std")
        );
        let divided = graph.nodes.iter().find(|node| node.name == "/input/Div_1").unwrap();
        assert_eq!(divided.inputs[1], "input.mean");
        for name in ["bn.bias", "bn.running_mean"] {
            assert!(graph.initializers.contains_key(name), "{name}");
        }
    }
}
