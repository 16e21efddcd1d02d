//! Removal of quantisation in the QDQ form, for devices that compute in floats anyway.

use std::collections::{HashMap, HashSet};

use ndarray::{ArrayD, Axis};

use super::eliminate_dead_nodes;
use crate::onnx::index::Index;
use crate::onnx::model::Model;
use crate::onnx::node::Node;
use crate::onnx::tensor::{Number, Tensor};

/// Makes floats of everything that is stored in 8 bits and no longer rounds values between operators; returns the number of
/// values that were rounded.
///
/// Weights keep the values that they were rounded to
/// ([`DequantizeLinear`](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html) of a constant). Pairs of
/// [`QuantizeLinear`](https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html) and `DequantizeLinear` with the same scale
/// and zero point go, so that results are those of a network with these weights, and differ from the file's by the rounding
/// of activations and by values outside of the range of 8 bits, which are no longer clamped. A network whose quantiser left
/// a ReLU to that clamping would change. Left as they are: scales in blocks, and of other types than 32-bit floats.
pub fn remove_quantization(model: &mut Model) -> usize {
    let removed = model.edit(|model| {
        let index = Index::new(&model.graph);
        let pairs = pairs(&index);
        let constants = constants(&index);
        let removed: HashSet<String> = constants.iter().map(|(name, _)| name.clone()).collect();
        let graph = &mut model.graph;
        graph.nodes.retain(|node| !node.only_output().is_some_and(|output| removed.contains(output)));
        graph.initializers.extend(constants);
        graph.nodes.iter_mut().for_each(|node| node.rename_reads(&|name| pairs.get(name).cloned()));
        pairs.len()
    });
    eliminate_dead_nodes(model);
    removed
}

/// Values that were rounded, each with the value that it was before.
fn pairs(index: &Index<'_>) -> HashMap<String, String> {
    let mut pairs: HashMap<String, String> = HashMap::new();
    for node in index.graph().nodes.iter().filter(|node| node.is("DequantizeLinear")) {
        let pair = || {
            let output = node.only_output().filter(|output| !index.is_output(output))?;
            let quantize = index.node(index.producer_of(node.input(0)?, "QuantizeLinear")?);
            let same = [1, 2].iter().all(|&at| same_constant(index, node.input(at), quantize.input(at)));
            let axes = [node, quantize].map(|node| (node.int("axis", 1), node.int("block_size", 0)));
            let input = quantize.input(0).filter(|_| same && axes[0] == axes[1])?;
            // Nodes are in their order, so that the value before has its own replacement already.
            Some((output.to_owned(), pairs.get(input).map_or(input, String::as_str).to_owned()))
        };
        pairs.extend(pair());
    }
    pairs
}

fn same_constant<'g>(index: &Index<'g>, one: Option<&'g str>, other: Option<&'g str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one == other || index.constant(one).is_some_and(|one| Some(one) == index.constant(other))
        }
        (one, other) => one == other,
    }
}

/// Results of the nodes that make floats of constants, by their names.
fn constants(index: &Index<'_>) -> Vec<(String, Tensor)> {
    let constant = |node: &Node| {
        let output = node.only_output().filter(|output| !index.is_output(output))?;
        Some((output.to_owned(), dequantized(index, node)?.into()))
    };
    index.graph().nodes.iter().filter(|node| node.is("DequantizeLinear")).filter_map(constant).collect()
}

/// Floats `(value - zero_point) * scale` of the constant that `node` reads.
fn dequantized(index: &Index<'_>, node: &Node) -> Option<ArrayD<f32>> {
    if node.int("block_size", 0) != Some(0) {
        return None;
    }
    let mut values = integers(index, node.input(0)?)?;
    let scale = index.array::<f32>(node.input(1)?)?;
    let zero = match node.input(2) {
        Some(name) => integers(index, name).filter(|zero| zero.shape() == scale.shape())?,
        None => ArrayD::zeros(scale.shape()),
    };
    let convert = |value: f64, scale: f32, zero: f64| f64::from((value - zero) as f32 * scale);
    if let (Some(&scale), Some(&zero), 1) = (scale.first(), zero.first(), scale.len()) {
        values.mapv_inplace(|value| convert(value, scale, zero));
    } else {
        let axis = usize::try_from(axis(node, values.ndim())?).ok().filter(|&axis| axis < values.ndim())?;
        if scale.shape() != [values.shape()[axis]] {
            return None;
        }
        for ((mut part, &scale), &zero) in values.axis_iter_mut(Axis(axis)).zip(&scale).zip(&zero) {
            part.mapv_inplace(|value| convert(value, scale, zero));
        }
    }
    Some(values.mapv(|value| value as f32))
}

/// Axis of the scales, counted from the front.
fn axis(node: &Node, dimensions: usize) -> Option<i64> {
    let axis = node.int("axis", 1)?;
    Some(if axis < 0 { axis + dimensions as i64 } else { axis })
}

/// A constant of integers, in doubles, which hold all 32-bit integers.
fn integers(index: &Index<'_>, name: &str) -> Option<ArrayD<f64>> {
    let tensor = index.constant(name)?;
    fn doubles<T: Number + Into<f64>>(tensor: &Tensor) -> Option<ArrayD<f64>> {
        Some(tensor.to_array::<T>().ok()?.mapv(Into::into))
    }
    doubles::<i8>(tensor).or_else(|| doubles::<u8>(tensor)).or_else(|| doubles::<i32>(tensor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Conv2d, Linear};
    use crate::onnx::{Interface, Opset, passes, trace};
    use crate::{Module, Ops, Reduce, testing};

    struct Network;

    impl Module for Network {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let conv = Conv2d { bias: true, ..Conv2d::new("conv", 3, 4, 3) };
            let y = ops.relu(&ops.conv2d(x, &conv)?)?;
            ops.linear(&ops.reduce(&y, Reduce::Mean, &[2, 3], false)?, &Linear::new("fc", 4, 2))
        }
    }

    fn quantized() -> (Model, Model) {
        let weights = testing::weights(&Network, &[1, 3, 8, 8]).unwrap();
        let floats = trace(&Network, &weights, &Interface::new([3, 8, 8]), Opset::default()).unwrap();
        let ranges = passes::quantized_values(&floats).into_iter().map(|name| (name, (-1.0, 3.0))).collect();
        let mut model = floats.clone();
        passes::quantize(&mut model, &ranges).unwrap();
        (floats, model)
    }

    #[test]
    fn the_operators_are_those_before_and_weights_are_rounded() {
        let (floats, mut model) = quantized();
        assert!(remove_quantization(&mut model) > 0);
        let operators =
            |model: &Model| model.graph.nodes.iter().map(|node| node.op.to_string()).collect::<Vec<_>>();
        assert_eq!(operators(&model), operators(&floats));
        let conv = model.graph.nodes.iter().find(|node| node.is("Conv")).unwrap();
        let found = model.graph.initializers[conv.input(1).unwrap()].to_array::<f32>().unwrap();
        let expected = floats.graph.initializers["conv.weight"].to_array::<f32>().unwrap();
        for (found, expected) in found.outer_iter().zip(expected.outer_iter()) {
            let step = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / 64.0;
            let error = found.iter().zip(expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(error > 0.0 && error <= 0.5001 * step, "{error} of {step}");
        }
        assert_eq!(remove_quantization(&mut model), 0);
    }

    #[test]
    fn rounding_by_two_scales_stays() {
        let (_, mut model) = quantized();
        let before = model.graph.nodes.iter().filter(|node| node.is("QuantizeLinear")).count();
        let last = model.graph.nodes.iter_mut().rfind(|node| {
            node.is("DequantizeLinear")
                && node.inputs[0].ends_with("_quantized")
                && !node.inputs[0].contains("weight")
                && !node.inputs[0].contains("bias")
        });
        let node = last.unwrap();
        node.inputs[1] = "other".into();
        model.graph.initializers.insert("other".into(), Tensor::scalar(0.5_f32));
        assert_eq!(remove_quantization(&mut model), before - 1);
        assert_eq!(model.graph.nodes.iter().filter(|node| node.is("QuantizeLinear")).count(), 1);
    }
}
