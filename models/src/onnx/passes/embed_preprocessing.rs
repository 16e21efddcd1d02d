//! Normalisation of images inside the graph, which then takes bytes as they are decoded.

use ndarray::{Array3, ArrayD, arr0};

use crate::onnx::element::Element;
use crate::onnx::graph::unique;
use crate::onnx::model::Model;
use crate::onnx::node::Node;
use crate::onnx::tensor::Tensor;
use crate::onnx::types::{Dim, TensorInfo, ValueInfo};

/// A reason why preprocessing cannot become part of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The operators are too old: before opset 7 they do not broadcast.
    #[error("the model has opset {0}, preprocessing inside it needs 7 or newer")]
    Opset(i64),
    /// The model has no input, or several.
    #[error("the model has {0} inputs, not one")]
    Inputs(usize),
    /// The input is no tensor of floats `[N, C, H, W]`.
    #[error("the input {0} is not a tensor of 32-bit floats [N, C, H, W]")]
    Input(String),
    /// There are not as many means and deviations as channels.
    #[error("{means} means and {deviations} deviations for images of {channels} channels")]
    Channels {
        /// Number of means.
        means: usize,
        /// Number of standard deviations.
        deviations: usize,
        /// Channels of the input.
        channels: usize,
    },
}

/// Makes the one input `[N, H, W, C]` bytes, of which the graph makes `(x / 255 - mean) / std` in `[N, C, H, W]`: the very
/// operations, in the order in which they are done outside otherwise
/// ([`Transpose`](https://onnx.ai/onnx/operators/onnx__Transpose.html),
/// [`Cast`](https://onnx.ai/onnx/operators/onnx__Cast.html), [`Div`](https://onnx.ai/onnx/operators/onnx__Div.html),
/// [`Sub`](https://onnx.ai/onnx/operators/onnx__Sub.html), `Div`).
///
/// # Errors
/// [`EmbedError`] when the model does not take images of as many channels; it is then as it was.
pub fn embed_preprocessing(model: &mut Model, mean: &[f32], std: &[f32]) -> Result<(), EmbedError> {
    match model.opset() {
        Some(7..) => model.edit(|model| embed(model, mean, std)),
        old => Err(EmbedError::Opset(old.unwrap_or_default())),
    }
}

fn embed(model: &mut Model, mean: &[f32], std: &[f32]) -> Result<(), EmbedError> {
    let graph = &mut model.graph;
    let fed = |input: &&ValueInfo| !graph.initializers.contains_key(&*input.name);
    let count = graph.inputs.iter().filter(fed).count();
    let Some(at) = graph.inputs.iter().position(|input| fed(&input)).filter(|_| count == 1) else {
        return Err(EmbedError::Inputs(count));
    };
    let (name, shape) = image(&graph.inputs[at], mean, std)?;

    let mut names = graph.names();
    let mut value = name.clone();
    let mut constants = Vec::new();
    let mut node = |part: &str, constant: Option<(&str, ArrayD<f32>)>| {
        let path = unique(&format!("/input/{part}"), &mut names);
        let output = unique(&format!("{path}_output_0"), &mut names);
        let mut inputs = vec![std::mem::replace(&mut value, output.clone())];
        if let Some((name, values)) = constant {
            let name = unique(name, &mut names);
            inputs.push(name.clone());
            constants.push((name, Tensor::from(values)));
        }
        let op = part.trim_end_matches("_1");
        Node::new(op, inputs, [output]).named(path)
    };
    let nodes = [
        node("Transpose", None).with("perm", vec![0, 3, 1, 2]),
        node("Cast", None).with("to", i64::from(Element::Float.code())),
        node("Div", Some(("input.range", arr0(255.0).into_dyn()))),
        node("Sub", Some(("input.mean", per_channel(mean)))),
        node("Div_1", Some(("input.std", per_channel(std)))),
    ];
    let normalised = |read: &str| (*read == name).then(|| value.clone());
    graph.nodes.iter_mut().for_each(|node| node.rename_reads(&normalised));
    graph.nodes.splice(0..0, nodes);
    for (name, values) in constants.into_iter().rev() {
        graph.initializers.shift_insert(0, name, values);
    }
    let [batch, channels, height, width] = shape;
    let shape = [batch, height, width, channels];
    graph.inputs[at].kind = ValueInfo::tensor(&name, Element::Uint8, shape).kind;
    Ok(())
}

/// Name and dimensions of the input, if it takes images of as many channels.
fn image(input: &ValueInfo, mean: &[f32], std: &[f32]) -> Result<(String, [Dim; 4]), EmbedError> {
    let other = || EmbedError::Input(input.name.to_string());
    let TensorInfo { name, element, shape } = input.as_tensor().ok_or_else(other)?;
    let shape = <[Dim; 4]>::try_from(shape).map_err(|_| other())?;
    let Dim::Fixed(channels) = shape[1] else { return Err(other()) };
    if element != Element::Float {
        return Err(other());
    }
    let (means, deviations) = (mean.len(), std.len());
    match channels == means && channels == deviations {
        true => Ok((name, shape)),
        false => Err(EmbedError::Channels { means, deviations, channels }),
    }
}

/// One value a channel, `[C, 1, 1]`.
fn per_channel(values: &[f32]) -> ArrayD<f32> {
    Array3::from_shape_fn((values.len(), 1, 1), |(channel, ..)| values[channel]).into_dyn()
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
    fn all_readers_of_the_input_get_the_normalised_image() {
        let network = Twice(Conv2d { padding: 1, ..Conv2d::new("conv", 2, 2, 3) });
        let weights = testing::weights(&network, &[1, 2, 4, 5]).unwrap();
        let mut model = trace(&network, &weights, &Interface::new([2, 4, 5]), Opset::default()).unwrap();
        embed_preprocessing(&mut model, &[0.5, 0.25], &[0.1, 0.2]).unwrap();

        let graph = &model.graph;
        let fixed = [4, 5, 2].map(Dim::Fixed);
        let input = graph.inputs[0].as_tensor().unwrap();
        assert_eq!(input.element, Element::Uint8);
        assert_eq!(input.shape[1..], fixed);
        let ops: Vec<_> = graph.nodes.iter().map(Node::standard).collect();
        assert_eq!(ops, ["Transpose", "Cast", "Div", "Sub", "Div", "Conv", "Relu", "Add"]);
        let normalised = &graph.nodes[4].outputs[0];
        assert_eq!([&graph.nodes[5].inputs[0], &graph.nodes[6].inputs[0]], [normalised; 2]);
        assert_eq!(graph.initializers["input.mean"].dims(), [2, 1, 1]);
        let mut names: Vec<_> = graph.nodes.iter().map(|node| &node.name).collect();
        names.dedup();
        assert_eq!(names.len(), graph.nodes.len());
    }

    #[test]
    fn what_takes_no_images_is_refused_and_left() {
        let network = Twice(Conv2d { padding: 1, ..Conv2d::new("conv", 2, 2, 3) });
        let weights = testing::weights(&network, &[1, 2, 4, 5]).unwrap();
        let model = trace(&network, &weights, &Interface::new([2, 4, 5]), Opset::default()).unwrap();
        let refused = |change: &dyn Fn(&mut Model), mean: &[f32]| {
            let mut before = model.clone();
            change(&mut before);
            let mut after = before.clone();
            let error = embed_preprocessing(&mut after, mean, &[1.0, 1.0]).unwrap_err();
            assert_eq!(after, before);
            error
        };
        let (same, two): (fn(&mut Model), _) = (|_| (), [0.0; 2]);
        let channels = EmbedError::Channels { means: 3, deviations: 2, channels: 2 };
        assert_eq!(refused(&same, &[0.0; 3]), channels);
        assert_eq!(refused(&|model| model.graph.inputs.clear(), &two), EmbedError::Inputs(0));
        let bytes = |model: &mut Model| model.graph.inputs[0].set_element(Element::Uint8);
        assert_eq!(refused(&bytes, &two), EmbedError::Input("input".into()));
    }
}
