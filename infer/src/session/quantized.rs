//! Files of 8 bits on a GPU, for which ONNX Runtime has no integer convolution: it rounds, and computes in floats.

use ferronnx_models::card::CARD_KEY;
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

/// A network of 8 bits in half precision; none for another network, and where only a part could be changed.
///
/// Nor for files without a card: quantisers of other tools leave out a ReLU where the range of the 8 bits does its work.
pub(super) fn in_halves(model: &Model) -> Option<Model> {
    let is_ours = model.metadata.get(CARD_KEY).is_some();
    let mut halved = (is_ours && rounds(model)).then(|| model.clone())?;
    if passes::remove_quantization(&mut halved) == 0 || rounds(&halved) {
        return None;
    }
    // Weights that are too large for it stay in single precision.
    let _ = passes::half_precision(&mut halved);
    Some(halved)
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
    use ferronnx_models::onnx::{Element, Node, Opset, Tensor, ValueInfo};

    use super::*;

    #[test]
    fn only_pairs_with_known_scales_become_halves() {
        let float = |name: &str| ValueInfo::tensor(name, Element::Float, []);
        let mut model = Model::new(Opset::default());
        model.graph.inputs = vec![float("x")];
        model.graph.outputs = vec![float("y")];
        model.graph.initializers = [("s".to_owned(), Tensor::scalar(0.5_f32))].into();
        model.graph.nodes = vec![
            Node::new("QuantizeLinear", ["x", "s"], ["q"]),
            Node::new("DequantizeLinear", ["q", "s"], ["d"]),
            Node::new("Relu", ["d"], ["y"]),
        ];
        assert!(in_halves(&model).is_none(), "not ours");
        model.metadata.push(CARD_KEY, "{}");
        let halved = in_halves(&model).unwrap();
        let operators: Vec<_> = halved.graph.nodes.iter().map(|node| &*node.op).collect();
        assert_eq!(operators, ["Cast", "Relu", "Cast"]);
        assert!(in_halves(&halved).is_none());
        model.graph.nodes[2] = Node::new("DynamicQuantizeLinear", ["d"], ["y"]);
        assert!(in_halves(&model).is_none());
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
