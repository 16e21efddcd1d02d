//! Simulation of TensorFloat-32: a graph whose convolutions and matrix products round their factors as a GPU does.

use std::collections::HashMap;

use crate::onnx::{Model, Node, Tensor, TensorError};

/// Splits a 32-bit float after 10 bits of mantissa: `x c - (x c - x)` is `x`, rounded to the nearest of them
/// ([Veltkamp's splitting](https://doi.org/10.1007/BF01397083), with `c = 2^13 + 1`).
const SPLITTER: f32 = 8193.0;

/// Rounds `value` to the 10 bits of mantissa of TensorFloat-32, to the nearest.
pub fn round(value: f32) -> f32 {
    let product = value * SPLITTER;
    product - (product - value)
}

/// Makes every [`Conv`](https://onnx.ai/onnx/operators/onnx__Conv.html),
/// [`Gemm`](https://onnx.ai/onnx/operators/onnx__Gemm.html) and
/// [`MatMul`](https://onnx.ai/onnx/operators/onnx__MatMul.html) round both factors to TensorFloat-32: weights at once, other
/// values by operators of the graph. Products and sums remain 32-bit floats, as on a GPU.
///
/// # Errors
/// [`TensorError`] when the weights are not 32-bit floats in the file.
pub fn simulate(model: &mut Model) -> Result<(), TensorError> {
    let graph = &mut model.graph;
    let splitter = "tf32.splitter";
    let mut rounded: HashMap<String, String> = HashMap::new();
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for mut node in std::mem::take(&mut graph.nodes) {
        let is_product = ["Conv", "Gemm", "MatMul"].iter().any(|op| node.is(op));
        for factor in node.inputs.iter_mut().take(if is_product { 2 } else { 0 }) {
            if let Some(known) = rounded.get(factor) {
                factor.clone_from(known);
                continue;
            }
            let [product, rest, result] =
                ["product", "rest", "value"].map(|part| format!("{factor}.tf32.{part}"));
            match graph.initializers.get(factor) {
                Some(weights) => {
                    let weights = weights.to_array::<f32>()?.mapv(round);
                    graph.initializers.insert(result.clone(), Tensor::from(weights));
                }
                None => nodes.extend([
                    Node::new("Mul", [factor.as_str(), splitter], [&product]),
                    Node::new("Sub", [product.as_str(), factor.as_str()], [&rest]),
                    Node::new("Sub", [&product, &rest], [&result]),
                ]),
            }
            rounded.insert(factor.clone(), result.clone());
            *factor = result;
        }
        nodes.push(node);
    }
    graph.initializers.insert(splitter.into(), Tensor::scalar(SPLITTER));
    graph.nodes = nodes;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_bits_of_mantissa_remain_and_are_the_nearest() {
        for value in [1.0, 0.1, -3.375_111, 1e-20, 65_504.3, 2.0_f32.powi(-11) + 1.0] {
            let rounded = round(value);
            assert_eq!(rounded.to_bits() & 0x1FFF, 0, "{value}");
            assert!((rounded - value).abs() <= value.abs() * 2.0_f32.powi(-11), "{value}: {rounded}");
        }
        assert_eq!(round(1.0 + 2.0_f32.powi(-10)), 1.0 + 2.0_f32.powi(-10), "representable values stay");
        assert_eq!(round(1.0 + 2.0_f32.powi(-12)), 1.0);
        assert_eq!(round(0.0), 0.0);
    }
}
