//! Files of 8 bits on a GPU, for which ONNX Runtime has no integer convolution: it rounds, and computes in floats.

use ferronnx_models::onnx::{Model, passes};

/// Operators that round activations to 8 bits, or compute with them.
const QUANTIZED: [&str; 6] = [
    "ConvInteger",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
];

/// Makes a network of 8 bits one of half precision; tells whether it was one that could be changed.
pub(super) fn in_halves(model: &mut Model) -> bool {
    if !rounds(model) || passes::remove_quantization(model) == 0 || rounds(model) {
        return false;
    }
    // Weights that are too large for it stay in single precision.
    let _ = passes::half_precision(model);
    true
}

/// Note on a network that was made one of half precision.
pub(super) const HALVED: &str = "computing the 8-bit file in half precision, which is faster on a GPU; results differ a \
     little from those on a CPU, and a file in half precision has less rounding";

/// Note for a GPU on a network that runs as it is: none unless activations are rounded to 8 bits. Weights alone are
/// converted once.
pub(super) fn note(model: &Model) -> Option<String> {
    rounds(model).then(|| {
        "ONNX Runtime computes 8-bit files in floats on a GPU: the same network in half precision is faster".into()
    })
}

/// True if activations are rounded to 8 bits.
fn rounds(model: &Model) -> bool {
    let bodies = model.functions.iter().flat_map(|function| &function.nodes);
    let mut nodes = model.graph.nodes.iter().chain(bodies);
    nodes.any(|node| QUANTIZED.contains(&node.op.as_str()))
}

#[cfg(test)]
mod tests {
    use ferronnx_models::onnx::{Node, Opset};

    use super::*;

    #[test]
    fn what_cannot_be_changed_runs_as_it_is() {
        let mut model = Model::new(Opset::default());
        model.graph.nodes = vec![
            Node::new("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            Node::new("ConvInteger", ["q", "w", "z"], ["y"]),
        ];
        let before = model.clone();
        assert!(!in_halves(&mut model));
        assert_eq!(model, before);
    }

    #[test]
    fn only_activations_of_8_bits_are_noted() {
        let mut model = Model::new(Opset::default());
        model.graph.nodes =
            vec![Node::new("DequantizeLinear", ["w", "s"], ["v"]), Node::new("Conv", ["x", "v"], ["y"])];
        assert_eq!(note(&model), None);
        model.graph.nodes.push(Node::new("QuantizeLinear", ["y", "s"], ["z"]));
        assert!(note(&model).unwrap().contains("half precision"));
    }
}
