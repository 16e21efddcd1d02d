//! Pictures as they are decoded: the file normalises them itself.

use ndarray::Array3;

use crate::onnx::graph::{Attribute, Dim, Element, Graph, Initializer, Node};

/// Makes the one input `[batch, H, W, C]` bytes, of which the graph makes `(x / 255 - mean) / std` in
/// `[batch, C, H, W]`: the very operations, in the order in which it is done outside otherwise.
///
/// # Panics
/// When the graph's input is not `[batch, C, H, W]` with as many channels as there are means and deviations.
pub fn bytes_input(graph: &mut Graph, mean: &[f32], std: &[f32]) {
    let [input] = &mut graph.inputs[..] else { panic!("one input, not {}", graph.inputs.len()) };
    let [batch, channels, height, width] = &input.shape[..] else { panic!("[N, C, H, W]: {input:?}") };
    let count = mean.len();
    assert_eq!((channels, count), (&Dim::Fixed(std.len()), std.len()));
    input.shape = [batch, height, width, channels].map(Dim::clone).into();
    input.element = Element::Uint8;

    let per_channel = |values: &[f32]| {
        let values = Array3::from_shape_vec((count, 1, 1), values.to_vec()).expect("one a channel");
        Initializer::Float(values.into_dyn())
    };
    let constants = [
        ("input.range", Initializer::scalar(255.0)),
        ("input.mean", per_channel(mean)),
        ("input.std", per_channel(std)),
    ];
    let planar = ("perm", Attribute::Ints(vec![0, 3, 1, 2]));
    let float = ("to", Attribute::Int(Element::Float.code()));
    let mut value = input.name.clone();
    let nodes = [
        ("Transpose", "Transpose", None, vec![planar]),
        ("Cast", "Cast", None, vec![float]),
        ("Div", "Div", Some("input.range"), vec![]),
        ("Sub", "Sub", Some("input.mean"), vec![]),
        ("Div_1", "Div", Some("input.std"), vec![]),
    ]
    .map(|(name, op, constant, attributes)| {
        let name = format!("/input/{name}");
        let output = format!("{name}_output_0");
        let operand = std::mem::replace(&mut value, output.clone());
        let inputs = [Some(operand), constant.map(str::to_owned)].into_iter().flatten().collect();
        Node { name, op, inputs, output, attributes }
    });
    let input = graph.inputs[0].name.clone();
    for operand in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        if *operand == input {
            operand.clone_from(&value);
        }
    }
    graph.nodes.splice(0..0, nodes);
    for (name, values) in constants.into_iter().rev() {
        graph.initializers.shift_insert(0, name.into(), values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Conv2d;
    use crate::onnx::{Interface, Opset, trace};
    use crate::{Module, Ops, testing};

    struct Twice(Conv2d);

    impl Module for Twice {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            ops.add(&ops.conv2d(x, &self.0)?, &ops.relu(x)?)
        }
    }

    #[test]
    fn all_readers_of_the_input_get_the_normalised_picture() {
        let network = Twice(Conv2d { padding: 1, ..Conv2d::new("conv", 2, 2, 3) });
        let weights = testing::weights(&network, &[1, 2, 4, 5]).unwrap();
        let mut graph = trace(&network, &weights, &Interface::new([2, 4, 5]), Opset::default()).unwrap();
        bytes_input(&mut graph, &[0.5, 0.25], &[0.1, 0.2]);

        let fixed = [4, 5, 2].map(Dim::Fixed);
        assert_eq!(graph.inputs[0].element, Element::Uint8);
        assert_eq!(graph.inputs[0].shape[1..], fixed);
        let ops: Vec<_> = graph.nodes.iter().map(|node| node.op).collect();
        assert_eq!(ops, ["Transpose", "Cast", "Div", "Sub", "Div", "Conv", "Relu", "Add"]);
        let normalised = &graph.nodes[4].output;
        assert_eq!([&graph.nodes[5].inputs[0], &graph.nodes[6].inputs[0]], [normalised; 2]);
        assert_eq!(graph.initializers["input.mean"].shape(), [2, 1, 1]);
        let mut names: Vec<_> = graph.nodes.iter().map(|node| &node.name).collect();
        names.dedup();
        assert_eq!(names.len(), graph.nodes.len());
    }
}
