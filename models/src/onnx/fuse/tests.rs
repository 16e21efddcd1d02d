use ndarray::{Array, ArrayD, Dimension};

use super::*;
use crate::Module;
use crate::layers::{Attention, Cbam, EfficientChannelAttention, Path, SqueezeExcitation};
use crate::onnx::{Element, Interface, Opset, ValueInfo, trace};
use crate::testing;

/// Channels of the layers.
const CHANNELS: usize = 16;

fn traced(layer: &impl Module) -> Model {
    let weights = testing::weights(layer, &[1, CHANNELS, 4, 4]).unwrap();
    trace(layer, &weights, &Interface::new([CHANNELS, 4, 4]), Opset::default()).unwrap()
}

/// Squeeze-and-excitation, as in MobileNetV3.
fn se() -> Model {
    let layer = SqueezeExcitation::new(&Path::new("se"), CHANNELS, 4);
    traced(&SqueezeExcitation { gate: Gate::HardSigmoid, ..layer })
}

fn eca() -> Model {
    traced(&EfficientChannelAttention::new(&Path::new("eca"), 3))
}

fn node<'m>(model: &'m mut Model, op: &str) -> &'m mut Node {
    model.graph.nodes.iter_mut().find(|node| node.is(op)).unwrap()
}

fn constant<T, D>(model: &mut Model, name: &str, values: Array<T, D>)
where
    D: Dimension,
    Tensor: From<ArrayD<T>>,
{
    model.graph.initializers.insert(name.into(), values.into_dyn().into());
}

/// Puts `nodes` in the place of those from the first to the last of these operators.
fn replace(model: &mut Model, [first, last]: [&str; 2], nodes: impl IntoIterator<Item = Node>) {
    let all = &model.graph.nodes;
    let start = all.iter().position(|node| node.is(first)).unwrap();
    let end = all.iter().rposition(|node| node.is(last)).unwrap();
    model.graph.nodes.splice(start..=end, nodes);
}

/// The only operator of the fused graph, with its weights.
fn fused(mut model: Model) -> (Node, Vec<Tensor>) {
    let fusion = attention(&mut model, &Kind::ALL, 8);
    assert_eq!((fusion.fused.len(), &fusion.rejected[..]), (1, &[][..]));
    let node = model.graph.nodes.iter().find(|node| node.domain == *DOMAIN).unwrap().clone();
    assert!(model.graph.nodes.iter().all(|node| node.domain == *DOMAIN || node.is("Relu")));
    let weights = node.inputs[1..].iter().map(|name| model.graph.initializers[name].clone()).collect();
    (Node { name: "".into(), inputs: Vec::new(), ..node }, weights)
}

#[test]
fn kinds_that_are_not_asked_for_are_kept() {
    let (mut model, before) = (eca(), eca());
    let Fusion { fused, rejected, kept } = attention(&mut model, &[Kind::Cbam, Kind::Se], 8);
    assert!(fused.is_empty() && rejected.is_empty() && model == before);
    let last = before.graph.nodes.last().unwrap().name.to_string();
    assert_eq!(kept, [Recognised { name: last, kind: Kind::Eca }]);
}

/// An operator of another domain may compute anything.
#[test]
fn operators_of_other_domains_are_left() {
    let graph = traced(&Cbam::new("cbam", CHANNELS, Attention { ratio: 4, kernel: 3 }));
    for (operator, left) in [("ReduceMean", Kind::Channel), ("GlobalAveragePool", Kind::Spatial)] {
        let mut model = graph.clone();
        node(&mut model, operator).domain = "other".into();
        let kinds: Vec<_> =
            attention(&mut model, &Kind::ALL, 16).fused.iter().map(|fused| fused.kind).collect();
        assert_eq!(kinds, [left], "{operator}");
    }
}

/// `nn.Linear` on reshaped means, in the place of convolutions.
#[test]
fn squeeze_and_excitation_of_linear_layers_is_the_same() {
    for shapes in [[[0_i64, -1], [-1, 16]], [[0, 16], [0, -1]], [[-1, 16], [2, 16]]] {
        let mut model = se();
        let gate = node(&mut model, "HardSigmoid").clone();
        let [first, second] = ["fc1", "fc2"].map(|layer| {
            let name = format!("se.{layer}.weight");
            let weight: ArrayD<f32> = model.graph.initializers[&name].to_array().unwrap();
            let (outputs, inputs) = (weight.shape()[0], weight.shape()[1]);
            constant(&mut model, &name, weight.into_shape_with_order((outputs, inputs)).unwrap());
            [name, format!("se.{layer}.bias")]
        });
        let gemm = |input: &str, [weight, bias]: &[String; 2], output: &str| {
            Node::new("Gemm", [input, weight, bias], [output]).with("transB", 1)
        };
        let pooled = node(&mut model, "GlobalAveragePool").outputs[0].clone();
        let [flat, spread] = shapes;
        constant(&mut model, "flat", ndarray::arr1(&flat));
        constant(&mut model, "spread", ndarray::arr1(&[spread[0], spread[1], 1, 1]));
        let gated = Node { inputs: vec!["scores".into()], outputs: vec!["gated".into()], ..gate.clone() };
        let nodes = [
            Node::new("Reshape", [&pooled[..], "flat"], ["means"]),
            gemm("means", &first, "hidden"),
            Node::new("Relu", ["hidden"], ["active"]),
            gemm("active", &second, "scores"),
            gated,
            Node::new("Reshape", ["gated", "spread"], [&gate.outputs[0]]),
        ];
        replace(&mut model, ["Conv", "HardSigmoid"], nodes);
        assert_eq!(fused(model), fused(se()), "{shapes:?}");
    }
}

/// ECA as its authors write it: the channels are transposed to the end, and the weights expanded to the image.
#[test]
fn eca_of_its_authors_is_the_same() {
    let mut model = eca();
    let pooled = node(&mut model, "GlobalAveragePool").outputs[0].clone();
    let conv = node(&mut model, "Conv").clone();
    let scale = node(&mut model, "Mul").clone();
    constant(&mut model, "last", ndarray::arr1(&[-1_i64]));
    let swap =
        |input: &str, output: &str| Node::new("Transpose", [input], [output]).with("perm", vec![0_i64, 2, 1]);
    let convolved = Node { outputs: vec!["convolved".into()], ..conv.clone() };
    let [x, weights] = [0, 1].map(|at| scale.inputs[at].clone());
    let nodes = [
        Node::new("Squeeze", [&pooled[..], "last"], ["column"]),
        swap("column", &conv.inputs[0]),
        convolved,
        swap("convolved", "scores"),
        Node::new("Unsqueeze", ["scores", "last"], ["map"]),
        Node::new("Sigmoid", ["map"], ["gated"]),
        Node::new("Shape", [&x], ["shape"]),
        Node::new("Expand", ["gated", "shape"], [&weights]),
        scale,
    ];
    replace(&mut model, ["Flatten", "Mul"], nodes);
    assert_eq!(fused(model.clone()), fused(eca()));

    // Expanded to the shape of something else.
    let mut other = model.clone();
    node(&mut other, "Shape").inputs[0] = pooled;
    assert!(attention(&mut other, &Kind::ALL, 8).fused.is_empty());

    // Expanded to a shape that is known but for the number of images, as `torch.export` writes it.
    for (sizes, same) in [([16_i64, 4, 4], true), ([16, 4, 8], false), ([1, 4, 4], false)] {
        let mut model = model.clone();
        let shape = node(&mut model, "Shape");
        *shape = Node::new("Shape", [&shape.inputs[0]], ["images"]).with("start", 0).with("end", 1);
        for (name, size) in ["channels", "height", "width"].into_iter().zip(sizes) {
            constant(&mut model, name, ndarray::arr1(&[size]));
        }
        let concat = Node::new("Concat", ["images", "channels", "height", "width"], ["shape"]);
        let expand = model.graph.nodes.iter().position(|node| node.is("Expand")).unwrap();
        model.graph.nodes.insert(expand, concat.with("axis", 0));
        assert_eq!(attention(&mut model, &Kind::ALL, 8).fused.len(), usize::from(same), "{sizes:?}");
    }
}

type Change = fn(&mut Model);

/// Checks that a layer is left after each change, for this reason.
fn are_left(model: impl Fn() -> Model, changes: &[(&str, Change)]) {
    assert_eq!(attention(&mut model(), &Kind::ALL, 8).fused.len(), 1);
    for (reason, change) in changes {
        let mut model = model();
        change(&mut model);
        let Fusion { fused, rejected, .. } = attention(&mut model, &Kind::ALL, 8);
        assert!(fused.is_empty(), "{reason}");
        let reasons: Vec<_> = rejected.iter().map(|rejected| &*rejected.reason).collect();
        assert!(reasons.len() == 1 && reasons[0].contains(reason), "{reason}: {reasons:?}");
    }
}

fn set_ints(node: &mut Node, name: &str, values: &[i64]) {
    node.attributes.retain(|attribute| attribute.name != *name);
    *node = std::mem::take(node).with(name, values.to_vec());
}

/// Multiplies the output by `value`.
fn multiply(model: &mut Model, value: &str) {
    let last = model.graph.nodes.last_mut().unwrap();
    let output = std::mem::replace(&mut last.outputs[0], "scaled".into());
    model.graph.nodes.push(Node::new("Mul", ["scaled", value], [output]));
}

#[test]
fn what_is_not_exactly_squeeze_and_excitation_is_left() {
    are_left(
        se,
        &[
            ("alpha or beta", |model| node(model, "HardSigmoid").attributes.clear()),
            ("alpha or beta", |model| {
                let gate = node(model, "HardSigmoid");
                gate.attributes.retain(|attribute| attribute.name == *"alpha");
                *gate = std::mem::take(gate).with("beta", 0.25);
            }),
            ("no Relu", |model| node(model, "Relu").op = "Sigmoid".into()),
            ("no Sigmoid or HardSigmoid", |model| node(model, "HardSigmoid").op = "Tanh".into()),
            ("read elsewhere", |model| {
                let hidden = node(model, "Relu").outputs[0].clone();
                multiply(model, &hidden);
            }),
            ("an output", |model| {
                let scores = node(model, "HardSigmoid").inputs[0].clone();
                model.graph.outputs.push(ValueInfo::tensor(&scores, Element::Float, []));
            }),
            // The pool takes means of another value than the product.
            ("takes others", |model| {
                let x = node(model, "Mul").inputs[0].clone();
                node(model, "Mul").inputs[0] = "other".into();
                model.graph.nodes.insert(0, Node::new("Relu", [&x], ["other"]));
                multiply(model, &x);
            }),
            // A caller may replace the weights.
            ("no constant", |model| {
                let weight = node(model, "Conv").inputs[1].clone();
                model.graph.inputs.push(ValueInfo::tensor(&weight, Element::Float, []));
            }),
            ("pads", |model| set_ints(node(model, "Conv"), "pads", &[1, 1, 1, 1])),
            ("group", |model| *node(model, "Conv") = node(model, "Conv").clone().with("group", 2)),
            ("kernel", |model| {
                let weight = node(model, "Conv").inputs[1].clone();
                constant(model, &weight, ArrayD::<f32>::zeros(vec![4, CHANNELS, 3, 3]));
            }),
            ("bias", |model| {
                let bias = node(model, "Conv").inputs[2].clone();
                constant(model, &bias, ndarray::arr1(&[1.0_f32]));
            }),
        ],
    );
}

#[test]
fn what_is_not_exactly_eca_is_left() {
    are_left(
        eca,
        &[
            ("pads", |model| set_ints(node(model, "Conv"), "pads", &[2, 0])),
            ("dilations", |model| {
                set_ints(node(model, "Conv"), "dilations", &[2]);
            }),
            ("strides", |model| set_ints(node(model, "Conv"), "strides", &[2])),
            ("bias", |model| {
                node(model, "Conv").inputs.push("bias".into());
                constant(model, "bias", ndarray::arr1(&[1.0_f32]));
            }),
            ("shape", |model| {
                // The weights lie along the height.
                let axes = model.graph.nodes.iter_mut().rfind(|node| node.is("Unsqueeze")).unwrap();
                axes.inputs[1] = "other axes".into();
                constant(model, "other axes", ndarray::arr1(&[1_i64, 3]));
            }),
            ("shape", |model| {
                // One row of all images: the convolution goes from one to the next.
                let row = node(model, "Unsqueeze");
                row.op = "Reshape".into();
                row.inputs[1] = "row".into();
                constant(model, "row", ndarray::arr1(&[1_i64, 1, -1]));
            }),
            ("no Sigmoid or HardSigmoid", |model| node(model, "Sigmoid").op = "Softmax".into()),
        ],
    );
}
