//! Batch norm after a convolution is itself a scaling of its weights: at inference it costs nothing.

use ndarray::{ArrayD, Axis};

use super::remove_unused;
use crate::onnx::graph::{Attribute, Graph, Initializer};

/// Merges every `BatchNormalization` whose input is a `Conv` with no other reader into that `Conv`.
///
/// With `s = weight / sqrt(running_var + epsilon)`, the convolution's weights become `s w` and its bias
/// `s (b - running_mean) + shift`, computed in double precision.
pub fn fold_batch_norm(graph: &mut Graph) {
    let foldable: Vec<(usize, usize)> = graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, norm)| norm.op == "BatchNormalization")
        .filter_map(|(norm, node)| {
            let conv = graph.nodes.iter().position(|n| n.op == "Conv" && n.output == node.inputs[0])?;
            (graph.uses(&graph.nodes[conv].output) == 1).then_some((conv, norm))
        })
        .collect();

    let mut merged = Vec::new();
    for (conv, norm) in foldable {
        if fold(graph, conv, norm).is_some() {
            merged.push(norm);
        }
    }
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        !merged.contains(&(index - 1))
    });
    remove_unused(graph);
}

/// Rewrites the convolution; nothing happens where an operand is not a constant or is shared.
fn fold(graph: &mut Graph, conv: usize, norm: usize) -> Option<()> {
    let epsilon = graph.nodes[norm].attributes.iter().find_map(|(name, value)| match value {
        Attribute::Float(value) if *name == "epsilon" => Some(f64::from(*value)),
        _ => None,
    })?;
    let statistics: Vec<Vec<f64>> = graph.nodes[norm].inputs[1..]
        .iter()
        .map(|name| Some(graph.float(name)?.iter().map(|&value| f64::from(value)).collect()))
        .collect::<Option<_>>()?;
    let [weight, shift, mean, var] = &statistics[..] else { return None };
    let scale: Vec<f64> =
        weight.iter().zip(var).map(|(weight, var)| weight / (var + epsilon).sqrt()).collect();

    let kernel_name = graph.nodes[conv].inputs[1].clone();
    if graph.uses(&kernel_name) != 1 {
        return None;
    }
    let bias = match graph.nodes[conv].inputs.get(2) {
        Some(name) => graph.float(name)?.iter().map(|&value| f64::from(value)).collect(),
        None => vec![0.0; scale.len()],
    };
    let mut kernel = graph.float(&kernel_name)?.clone();
    for (mut filter, scale) in kernel.axis_iter_mut(Axis(0)).zip(&scale) {
        filter.mapv_inplace(|value| (f64::from(value) * scale) as f32);
    }
    let bias: ArrayD<f32> = (0..scale.len())
        .map(|c| (scale[c] * (bias[c] - mean[c]) + shift[c]) as f32)
        .collect::<ndarray::Array1<f32>>()
        .into_dyn();

    let bias_name = format!("{}.bias", kernel_name.trim_end_matches(".weight"));
    let position = graph.initializers.get_index_of(&kernel_name)?;
    graph.initializers[position] = Initializer::Float(kernel);
    graph.initializers.shift_insert(position + 1, bias_name.clone(), Initializer::Float(bias));
    graph.nodes[conv].inputs.truncate(2);
    graph.nodes[conv].inputs.push(bias_name);
    graph.nodes[conv].output = graph.nodes[norm].output.clone();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{BatchNorm2d, Conv2d, Init};
    use crate::onnx::{Interface, Opset, trace};
    use crate::{Module, Ops, Weights, shapes};

    struct ConvNorm {
        conv: Conv2d,
        norm: BatchNorm2d,
        /// Reads the convolution a second time.
        shared: bool,
    }

    impl Module for ConvNorm {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let y = ops.conv2d(x, &self.conv)?;
            let z = ops.batch_norm(&y, &self.norm)?;
            if self.shared { ops.add(&y, &z) } else { Ok(z) }
        }
    }

    fn graph(bias: bool, shared: bool) -> Graph {
        let conv = Conv2d { bias, ..Conv2d::new("conv", 1, 2, 1) };
        let module = ConvNorm { conv, norm: BatchNorm2d::new("norm", 2), shared };
        let mut weights = Weights::new();
        for param in shapes::describe(&module, &[1, 1, 4, 4]).unwrap().params {
            assert!(matches!(param.init, Init::Constant(_) | Init::Uniform { .. }));
            let values = match param.name.as_str() {
                "conv.weight" => vec![2.0, -3.0],
                "conv.bias" => vec![0.5, 1.0],
                "norm.weight" => vec![4.0, 0.5],
                "norm.bias" => vec![1.0, -1.0],
                "norm.running_mean" => vec![0.25, -2.0],
                "norm.running_var" => vec![4.0 - 1e-5, 0.25 - 1e-5],
                other => panic!("{other}"),
            };
            weights.insert(param.name, ArrayD::from_shape_vec(param.shape, values).unwrap());
        }
        trace(&module, &weights, &Interface::new([1, 4, 4]), Opset::default()).unwrap()
    }

    fn close(graph: &Graph, name: &str, expected: &[f32]) {
        let values = graph.float(name).unwrap();
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{name}: {values:?} is not {expected:?}");
        }
    }

    #[test]
    fn scales_the_kernel_and_moves_the_bias() {
        // scale = [4 / 2, 0.5 / 0.5] = [2, 1]
        let mut folded = graph(true, false);
        fold_batch_norm(&mut folded);
        close(&folded, "conv.weight", &[4.0, -3.0]);
        close(&folded, "conv.bias", &[2.0 * (0.5 - 0.25) + 1.0, (1.0 + 2.0) - 1.0]);
        assert_eq!(folded.nodes.len(), 1);
        assert_eq!(folded.nodes[0].output, "output");
        assert_eq!(folded.initializers.keys().collect::<Vec<_>>(), ["conv.weight", "conv.bias"]);
    }

    #[test]
    fn gives_a_convolution_without_bias_one() {
        let mut folded = graph(false, false);
        fold_batch_norm(&mut folded);
        close(&folded, "conv.bias", &[-2.0 * 0.25 + 1.0, 2.0 - 1.0]);
    }

    #[test]
    fn leaves_a_convolution_with_other_readers() {
        let before = graph(true, true);
        let mut after = before.clone();
        fold_batch_norm(&mut after);
        assert_eq!(after, before);
    }
}
