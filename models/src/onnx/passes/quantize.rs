//! Static quantisation to 8 bits: a quarter of the size, and integer arithmetic where runtimes have it.
//!
//! The graph gets `QuantizeLinear` and `DequantizeLinear` pairs (the QDQ form), which runtimes merge with the
//! operators between them; one that does not know how still computes the same, in floats. Scheme: activations
//! `uint8` with a zero point, one scale a value; weights `int8` without, one scale an output channel; biases `int32`
//! (Jacob et al. 2018, arXiv:1712.05877).
//!
//! Quantised are convolutions, linear layers, residual sums and max pools. *Gates* stay in floats: all that decides
//! through a sigmoid what passes (attention, squeeze-and-excitation), and the product it acts by. They cost little,
//! and an error in them is an error in all that they scale. A batch norm that no convolution could take in stays in
//! floats too.

use std::collections::{HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};
use ndarray::{ArrayD, ArrayViewD, Axis, arr1};

use super::eliminate_dead_nodes;
use crate::onnx::element::Element;
use crate::onnx::index::Index;
use crate::onnx::model::Model;
use crate::onnx::node::Node;
use crate::onnx::tensor::Tensor;

/// Least and greatest value seen in calibration, by the name of the value.
pub type Ranges = HashMap<String, (f32, f32)>;

/// Largest magnitude of a quantised weight. Seven bits: without VNNI, x86 adds two products of a `uint8` and an
/// `int8` in 16 bits, and 2 * 255 * 64 is the most that fits.
const WEIGHT_MAX: f32 = 64.0;

/// Largest magnitude of a quantised bias, of which sums of products need to keep some distance to 2^31.
const BIAS_MAX: f32 = (1_u32 << 30) as f32;

/// The first opset whose `DequantizeLinear` has a scale for each channel.
const OLDEST: i64 = 13;

/// A reason why a model cannot be quantised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantizeError {
    /// Nothing is known of a value.
    #[error("{0} was not seen in calibration")]
    Range(String),
    /// The operators are too old.
    #[error("the model has opset {0}, quantisation needs {OLDEST} or newer")]
    Opset(i64),
}

/// Lists the values whose ranges [`quantize`] needs, by name.
pub fn quantized_values(model: &Model) -> Vec<String> {
    let index = Index::new(&model.graph);
    Plan::new(&index).values.into_iter().map(str::to_owned).collect()
}

/// Quantises the model, given the ranges of its [`quantized_values`]
/// ([`QuantizeLinear`](https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html),
/// [`DequantizeLinear`](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html)).
///
/// # Errors
/// [`QuantizeError`]; the model is then as it was.
pub fn quantize(model: &mut Model, ranges: &Ranges) -> Result<(), QuantizeError> {
    let opset = model.opset().unwrap_or(1);
    if opset < OLDEST {
        return Err(QuantizeError::Opset(opset));
    }
    model.edit(|model| {
        let graph = &model.graph;
        let index = Index::new(graph);
        let plan = Plan::new(&index);
        let scales = Scales::new(&plan, ranges)?;
        let mut pass = Pass { taken: graph.names(), ..Pass::default() };
        for input in &graph.inputs {
            if let Some(scale) = scales.of(&input.name) {
                pass.pair(scale, &format!("/{}", input.name));
            }
        }
        for (at, node) in graph.nodes.iter().enumerate() {
            let mut node = node.clone();
            if plan.nodes.contains(&at) {
                pass.weights(&index, &mut node, &scales);
            }
            for name in node.reads() {
                if let Some(constant) = graph.initializers.get(name) {
                    pass.initializers.entry(name.to_owned()).or_insert_with(|| constant.clone());
                }
            }
            node.rename_reads(&|name| scales.of(name).map(|_| pass.dequantized(name)));
            let (name, outputs) = (node.name.clone(), node.outputs.clone());
            pass.nodes.push(node);
            if let Some(scale) = outputs.first().and_then(|output| scales.of(output)) {
                pass.pair(scale, &name);
            }
        }
        let Pass { nodes, mut initializers, .. } = pass;
        for (name, constant) in &graph.initializers {
            initializers.entry(name.clone()).or_insert_with(|| constant.clone());
        }
        (model.graph.nodes, model.graph.initializers) = (nodes, initializers);
        Ok(())
    })?;
    eliminate_dead_nodes(model);
    Ok(())
}

/// Nodes and values that are quantised.
#[derive(Default)]
struct Plan<'g> {
    /// Places of the nodes.
    nodes: HashSet<usize>,
    /// Operands and results of them.
    values: IndexSet<&'g str>,
    /// Values that share another value's scale (a `MaxPool` output uses its input's).
    same: HashMap<&'g str, &'g str>,
    /// Values that only `HardSwish` reads, which is 0 up to [`HARD_SWISH_ZERO`].
    hard_swished: HashSet<&'g str>,
}

/// Largest value up to which `HardSwish` is 0: lower values need no steps of their own.
const HARD_SWISH_ZERO: f32 = -3.0;

impl<'g> Plan<'g> {
    fn new(index: &Index<'g>) -> Self {
        let graph = index.graph();
        let (gates, types) = (gates(index), graph.element_types());
        let is_value = |name: &&str| index.constant(name).is_none();
        let is_float = |name: &&str| types.get(*name) == Some(&Element::Float);
        let mut plan = Self::default();
        for (at, node) in graph.nodes.iter().enumerate() {
            let (Some(input), Some(output)) = (node.input(0), node.only_output()) else { continue };
            let wanted = match node.standard() {
                "Conv" | "Gemm" => Layer::of(index, node).is_some(),
                "Add" => node.inputs.iter().all(|name| is_value(&&name[..])),
                "MaxPool" => plan.values.contains(input),
                _ => false,
            };
            let operands = || node.inputs.iter().map(String::as_str).filter(is_value);
            if !wanted || gates.contains(&at) || !operands().all(|name| is_float(&name)) {
                continue;
            }
            plan.nodes.insert(at);
            let result = after_relu(index, output);
            plan.values.extend(operands());
            if !is_result(index, result) {
                plan.values.insert(result);
            }
            if index.readers(result).iter().all(|&reader| index.node(reader).is("HardSwish")) {
                plan.hard_swished.insert(result);
            }
            if node.is("MaxPool") {
                plan.same.insert(result, plan.same.get(input).copied().unwrap_or(input));
            }
        }
        plan
    }
}

/// True if `value` is an output of the graph, or only divided by a temperature on the way to one: logits stay in floats.
fn is_result(index: &Index<'_>, value: &str) -> bool {
    let divided = |&reader: &usize| {
        let node = index.node(reader);
        node.is("Div") && node.only_output().is_some_and(|output| index.is_output(output))
    };
    let readers = index.readers(value);
    index.is_output(value) || !readers.is_empty() && readers.iter().all(divided)
}

/// The result of a `Relu` that alone reads `value`: quantised values cannot be negative below a zero point of 0, so that a
/// runtime drops the `Relu`.
fn after_relu<'g>(index: &Index<'g>, value: &'g str) -> &'g str {
    let relu = match *index.readers(value) {
        [reader] if index.node(reader).is("Relu") => index.node(reader).only_output(),
        _ => None,
    };
    relu.unwrap_or(value)
}

/// Constants of a convolution or linear layer that can be quantised by its output channels.
struct Layer {
    kernel: ArrayD<f32>,
    bias: Option<ArrayD<f32>>,
}

impl Layer {
    fn of(index: &Index<'_>, node: &Node) -> Option<Self> {
        // Other layouts have their channels elsewhere.
        let rows = node.is("Conv") || node.int("transB", 0) == Some(1);
        let kernel = index.array::<f32>(node.input(1)?).filter(|kernel| rows && kernel.ndim() >= 2)?;
        let bias = match node.input(2) {
            Some(name) => Some(index.array(name).filter(|bias| bias.shape() == &kernel.shape()[..1])?),
            None => None,
        };
        Some(Self { kernel, bias })
    }
}

/// Places of the nodes that only serve to scale something else through a sigmoid.
fn gates(index: &Index<'_>) -> HashSet<usize> {
    let graph = index.graph();
    let mut scaling: HashSet<usize> = HashSet::new();
    let mut gates = HashSet::new();
    for (at, node) in graph.nodes.iter().enumerate().rev() {
        let readers: Vec<_> = node.outputs.iter().flat_map(|output| index.readers(output)).collect();
        let all = |set: &HashSet<usize>, op: &str| {
            let fits = |reader: usize| set.contains(&reader) || !op.is_empty() && index.node(reader).is(op);
            !readers.is_empty() && readers.iter().all(|&&reader| fits(reader))
        };
        match node.standard() {
            "Unsqueeze" if all(&scaling, "Mul") => {
                scaling.insert(at);
            }
            "Sigmoid" | "HardSigmoid" if all(&scaling, "Mul") => {
                gates.insert(at);
            }
            _ if all(&gates, "") => {
                gates.insert(at);
            }
            _ => {}
        }
    }
    gates
}

/// Scales of the values that are quantised, by name.
struct Scales(HashMap<String, Scale>);

/// `real = scale * (quantised - zero_point)`.
#[derive(Clone)]
struct Scale {
    value: String,
    /// Value that the scale is named after.
    owner: String,
    scale: f32,
    zero_point: u8,
}

impl Scales {
    fn new(plan: &Plan<'_>, ranges: &Ranges) -> Result<Self, QuantizeError> {
        let scale = |&value: &&str| {
            let owner = *plan.same.get(value).unwrap_or(&value);
            let (mut low, high) = *ranges.get(owner).ok_or_else(|| QuantizeError::Range(owner.into()))?;
            if plan.hard_swished.contains(owner) {
                low = low.max(HARD_SWISH_ZERO);
            }
            Ok((value.to_owned(), Scale::new(value, owner, (low, high))))
        };
        plan.values.iter().map(scale).collect::<Result<_, _>>().map(Self)
    }

    fn of(&self, value: &str) -> Option<&Scale> {
        self.0.get(value)
    }
}

impl Scale {
    /// The scale of `[low, high]` widened to hold 0, which padding needs to be exact.
    fn new(value: &str, owner: &str, (low, high): (f32, f32)) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let width = (high - low) / 255.0;
        let scale = if width > 0.0 && width.is_finite() { width } else { 1.0 };
        let zero_point = (-low / scale).round().clamp(0.0, 255.0) as u8;
        Self { value: value.into(), owner: owner.into(), scale, zero_point }
    }
}

/// The graph as far as it is quantised.
#[derive(Default)]
struct Pass {
    nodes: Vec<Node>,
    initializers: IndexMap<String, Tensor>,
    /// Names of the graph as it was.
    taken: HashSet<String>,
}

impl Pass {
    /// A name that the graph did not have: `wanted`, if it may be.
    fn free(&self, mut wanted: String) -> String {
        while self.taken.contains(&wanted) {
            wanted.push('_');
        }
        wanted
    }

    fn dequantized(&self, value: &str) -> String {
        self.free(format!("{value}_dequantized"))
    }

    /// Adds the two nodes behind the node `name` that give a value as it is after quantisation.
    fn pair(&mut self, Scale { value, owner, scale, zero_point }: &Scale, name: &str) {
        let scale_name = self.free(format!("{owner}_scale"));
        let zero_name = self.free(format!("zero_point_{zero_point}"));
        self.initializers.entry(scale_name.clone()).or_insert_with(|| Tensor::scalar(*scale));
        self.initializers.entry(zero_name.clone()).or_insert_with(|| Tensor::scalar(*zero_point));
        let (quantized, dequantized) = (self.free(format!("{value}_quantized")), self.dequantized(value));
        let node = |op: &str, input: &str, output: &str| {
            Node::new(op, [input, &scale_name, &zero_name], [output]).named(format!("{name}/{op}"))
        };
        self.nodes.extend([
            node("QuantizeLinear", value, &quantized),
            node("DequantizeLinear", &quantized, &dequantized),
        ]);
    }

    /// Quantises the constants of a convolution or linear layer.
    fn weights(&mut self, index: &Index<'_>, node: &mut Node, scales: &Scales) {
        let input = node.input(0).and_then(|input| scales.of(input));
        let (Some(Layer { kernel, bias }), Some(input)) = (Layer::of(index, node), input) else { return };
        let by_channel = channel_scales(&kernel, bias.as_ref(), input.scale);
        let mut rounded = kernel;
        for (mut filter, scale) in rounded.axis_iter_mut(Axis(0)).zip(&by_channel) {
            filter.mapv_inplace(|weight| (weight / scale).round().clamp(-WEIGHT_MAX, WEIGHT_MAX));
        }
        let kernel = rounded.mapv(|weight| weight as i8).into();
        let bias = bias.map(|bias| {
            let scales: Vec<f32> = by_channel.iter().map(|scale| scale * input.scale).collect();
            let values: Vec<_> =
                bias.iter().zip(&scales).map(|(bias, scale)| (bias / scale).round() as i32).collect();
            (arr1(&values).into_dyn().into(), scales)
        });
        node.inputs[1] = self.constant(&node.inputs[1], kernel, &by_channel);
        if let Some((values, scales)) = bias {
            node.inputs[2] = self.constant(&node.inputs[2], values, &scales);
        }
    }

    /// Adds a quantised constant with the node that makes floats of it; gives the name of those.
    ///
    /// A layer that is used twice on values of different scales has two biases.
    fn constant(&mut self, name: &str, values: Tensor, scales: &[f32]) -> String {
        let (element, count) = (values.element(), scales.len());
        let zero_name = self.free(format!("zeros_{element}_{count}"));
        let zeros = Tensor::from_raw(element, [count as i64], vec![0; element.bytes(count)]);
        let scales = Tensor::from(arr1(scales).into_dyn());
        let mut name = name.to_owned();
        loop {
            let [quantized, scale] = ["quantized", "scale"].map(|part| self.free(format!("{name}_{part}")));
            let output = self.dequantized(&name);
            match self.initializers.get(&quantized) {
                None => {
                    let path = format!("/{}/DequantizeLinear", name.replace('.', "/"));
                    let inputs = [&quantized, &scale, &zero_name];
                    let node = Node::new("DequantizeLinear", inputs, [&output]).named(path);
                    self.nodes.push(node.with("axis", 0));
                    self.initializers.extend([(quantized, values), (scale, scales)]);
                    self.initializers.entry(zero_name).or_insert(zeros);
                    return output;
                }
                Some(known) if *known == values && self.initializers.get(&scale) == Some(&scales) => {
                    return output;
                }
                Some(_) => name.push_str("_again"),
            }
        }
    }
}

/// One scale an output channel: its largest weight becomes [`WEIGHT_MAX`], unless its bias, which is counted in steps
/// of the product of both scales, would not fit then.
fn channel_scales(kernel: &ArrayD<f32>, bias: Option<&ArrayD<f32>>, input: f32) -> Vec<f32> {
    let largest = |filter: ArrayViewD<'_, f32>| filter.iter().fold(0.0, |max: f32, w| max.max(w.abs()));
    let scale = |(channel, filter)| {
        let bias = bias.map_or(0.0, |bias| bias[[channel]].abs());
        let scale = (largest(filter) / WEIGHT_MAX).max(bias / (input * BIAS_MAX));
        if scale > 0.0 && scale.is_finite() { scale } else { 1.0 }
    };
    kernel.outer_iter().enumerate().map(scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Attention, Cbam, Conv2d, Gate, Linear, MaxPool2d, SqueezeExcitation};
    use crate::onnx::{Graph, Interface, Opset, trace};
    use crate::{Module, Ops, Reduce, testing};

    /// A convolution, a max pool, attention, a shared convolution with a shortcut, and a head.
    struct Network {
        conv: Conv2d,
        shared: Conv2d,
        fc: Linear,
    }

    impl Network {
        fn new() -> Self {
            let conv =
                |name: &str, inputs| Conv2d { bias: true, padding: 1, ..Conv2d::new(name, inputs, 16, 3) };
            let fc = Linear::new("fc", 16, 3);
            Self { conv: conv("conv", 3), shared: conv("shared", 16), fc }
        }
    }

    impl Module for Network {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let x = ops.relu(&ops.conv2d(x, &self.conv)?)?;
            let x = ops.max_pool2d(&x, &MaxPool2d { kernel: 2, stride: 2, padding: 0 })?;
            let x = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 }).forward(ops, &x)?;
            let y = ops.relu(&ops.conv2d(&x, &self.shared)?)?;
            let y = ops.relu(&ops.add(&ops.conv2d(&y, &self.shared)?, &x)?)?;
            ops.linear(&ops.reduce(&y, Reduce::Mean, &[2, 3], false)?, &self.fc)
        }
    }

    fn graph() -> Model {
        let network = Network::new();
        let weights = testing::weights(&network, &[1, 3, 8, 8]).unwrap();
        trace(&network, &weights, &Interface::new([3, 8, 8]), Opset::default()).unwrap()
    }

    fn ranges(graph: &Model) -> Ranges {
        let range = |(index, name): (usize, String)| (name, (-1.0, 2.0 + index as f32));
        quantized_values(graph).into_iter().enumerate().map(range).collect()
    }

    fn quantized() -> Graph {
        let mut graph = graph();
        let ranges = ranges(&graph);
        quantize(&mut graph, &ranges).unwrap();
        graph.graph
    }

    fn node<'g>(graph: &'g Graph, name: &str) -> &'g Node {
        graph.node(name).unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn the_trunk_is_quantised_and_gates_are_not() {
        let graph = quantized();
        let is_quantised = |name: &str| node(&graph, name).inputs[0].ends_with("_dequantized");
        for name in ["/conv/Conv", "/MaxPool", "/shared/Conv", "/shared/Conv_1", "/Add", "/fc/Gemm"] {
            assert!(is_quantised(name), "{name}");
        }
        let attention = graph.nodes.iter().filter(|node| node.name.starts_with("/cbam"));
        for node in attention.filter(|node| !node.op.ends_with("Linear")) {
            for input in node.inputs.iter().filter(|input| input.starts_with("cbam")) {
                assert_eq!(graph.initializers[input].element(), Element::Float, "{node:?}");
            }
        }
        assert_eq!(graph.outputs[0].name, node(&graph, "/fc/Gemm").outputs[0], "logits stay floats");
    }

    #[test]
    fn pairs_stand_behind_the_relu_and_a_max_pool_keeps_its_scale() {
        let graph = quantized();
        let relu = node(&graph, "/Relu");
        assert_eq!(relu.inputs[0], node(&graph, "/conv/Conv").outputs[0], "nothing between");
        let behind = |name: &str| &node(&graph, &format!("{name}/QuantizeLinear")).inputs[1];
        assert_eq!(behind("/Relu"), behind("/MaxPool"));
        assert_ne!(behind("/Relu"), behind("/shared/Conv_1"));
        let defined: HashSet<_> = graph.nodes.iter().map(|node| &node.outputs[0]).collect();
        for input in graph.nodes.iter().flat_map(|node| &node.inputs) {
            assert!(
                input == "input" || defined.contains(input) || graph.initializers.contains_key(input),
                "{input}"
            );
        }
    }

    #[test]
    fn constants_are_within_half_a_step_and_products_fit_16_bits() {
        let (before, after) = (graph().graph, quantized());
        for (name, suffixes) in [
            ("conv.weight", [""; 2]),
            ("shared.weight", [""; 2]),
            ("conv.bias", [""; 2]),
            ("shared.bias", ["", "_again"]),
        ] {
            let floats = before.initializers[name].to_array::<f32>().unwrap();
            for suffix in suffixes {
                let integers = &after.initializers[&format!("{name}{suffix}_quantized")];
                let integers = match integers.element() {
                    Element::Int8 => integers.to_array::<i8>().unwrap().mapv(f32::from),
                    _ => integers.to_array::<i32>().unwrap().mapv(|value| value as f32),
                };
                let scales = &after.initializers[&format!("{name}{suffix}_scale")];
                let scales = scales.to_array::<f32>().unwrap();
                for (channel, (floats, integers)) in
                    floats.outer_iter().zip(integers.outer_iter()).enumerate()
                {
                    for (float, integer) in floats.iter().zip(&integers) {
                        let error = (float - integer * scales[[channel]]).abs();
                        assert!(error <= 0.501 * scales[[channel]], "{name}: {float} is not {integer}");
                        assert!(name.ends_with("bias") || 2.0 * 255.0 * integer.abs() <= f32::from(i16::MAX));
                    }
                }
            }
        }
    }

    #[test]
    fn a_channel_without_weights_keeps_its_bias() {
        let kernel = ArrayD::from_shape_vec(vec![3, 1], vec![0.0, 0.0, 1e-20]).unwrap();
        let bias = arr1(&[3.0, 0.0, 5.0]).into_dyn();
        let scales = channel_scales(&kernel, Some(&bias), 0.1);
        for (scale, bias) in scales.iter().zip([3.0_f32, 0.0, 5.0]) {
            let steps = bias / (scale * 0.1);
            assert!(steps.abs() <= 1.01 * BIAS_MAX, "{steps}");
            assert!((steps.round() * scale * 0.1 - bias).abs() < 1e-5);
        }
    }

    /// A convolution whose result only a hard swish reads, with squeeze-and-excitation after it.
    struct Swished(Conv2d, SqueezeExcitation);

    impl Module for Swished {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let x = ops.hard_swish(&ops.conv2d(x, &self.0)?)?;
            let x = ops.conv2d(&self.1.forward(ops, &x)?, &self.0)?;
            ops.reduce(&ops.hard_swish(&x)?, Reduce::Mean, &[2, 3], false)
        }
    }

    #[test]
    fn what_hard_swish_sets_to_zero_takes_no_steps_and_its_gates_stay_in_floats() {
        let gate =
            SqueezeExcitation { gate: Gate::HardSigmoid, ..SqueezeExcitation::new(&"se".into(), 3, 2) };
        let module = Swished(Conv2d::new("conv", 3, 3, 1), gate);
        let weights = testing::weights(&module, &[1, 3, 4, 4]).unwrap();
        let mut model = trace(&module, &weights, &Interface::new([3, 4, 4]), Opset::default()).unwrap();
        let values = quantized_values(&model);
        assert_eq!(values, ["input", "/conv/Conv_output_0", "/se/Mul_output_0", "/conv/Conv_1_output_0"]);
        let ranges = values.into_iter().map(|name| (name, (-20.0, 7.2))).collect();
        quantize(&mut model, &ranges).unwrap();
        let scale = |name: &str| model.graph.initializers[name].to_array::<f32>().unwrap()[[]];
        assert!((scale("/conv/Conv_output_0_scale") - 10.2 / 255.0).abs() < 1e-6);
        assert!((scale("/se/Mul_output_0_scale") - 27.2 / 255.0).abs() < 1e-6);
        for node in model.graph.nodes.iter().filter(|node| node.name.starts_with("/se/fc")) {
            assert!(node.inputs.iter().all(|input| !input.ends_with("_dequantized")), "{node:?}");
        }
    }

    #[test]
    fn zero_is_exact_in_every_range() {
        for range in [(0.5, 3.0), (-3.0, -1.0), (-0.3, 0.7), (0.0, 0.0), (f32::NEG_INFINITY, 1.0)] {
            let scale = Scale::new("x", "x", range);
            assert!(scale.scale.is_finite() && scale.scale > 0.0, "{range:?}");
        }
        let scale = Scale::new("x", "x", (-1.0, 3.0));
        assert_eq!((scale.zero_point, scale.scale), (64, 4.0 / 255.0));
    }

    #[test]
    fn what_is_not_known_is_named_and_nothing_is_changed() {
        let before = graph();
        let mut after = before.clone();
        let mut ranges = ranges(&before);
        ranges.remove("/Relu_output_0");
        let error = quantize(&mut after, &ranges).unwrap_err();
        assert_eq!(error, QuantizeError::Range("/Relu_output_0".into()));
        assert_eq!(after, before);
    }
}
