//! Notes on files that another form of the same network would outrun.

use ferronnx_models::onnx::Model;

/// Operators that round activations to 8 bits, or compute with them.
const QUANTIZED: [&str; 6] = [
    "ConvInteger",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
];

/// Note for a GPU: none unless activations are rounded to 8 bits. ONNX Runtime has no integer convolution there; it rounds,
/// and computes in floats all the same. Weights alone are converted once.
pub(super) fn on_gpu(model: &Model) -> Option<String> {
    let bodies = model.functions.iter().flat_map(|function| &function.nodes);
    let mut nodes = model.graph.nodes.iter().chain(bodies);
    nodes.any(|node| QUANTIZED.contains(&node.op.as_str())).then(|| {
        "ONNX Runtime computes 8-bit files in floats on a GPU: the same network in half precision is faster".into()
    })
}

#[cfg(test)]
mod tests {
    use ferronnx_models::onnx::{Node, Opset};

    use super::*;

    #[test]
    fn only_activations_of_8_bits_are_noted() {
        let mut model = Model::new(Opset::default());
        model.graph.nodes =
            vec![Node::new("DequantizeLinear", ["w", "s"], ["v"]), Node::new("Conv", ["x", "v"], ["y"])];
        assert_eq!(on_gpu(&model), None);
        model.graph.nodes.push(Node::new("QuantizeLinear", ["y", "s"], ["z"]));
        assert!(on_gpu(&model).unwrap().contains("half precision"));
    }
}
