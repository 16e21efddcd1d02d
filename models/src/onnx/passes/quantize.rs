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
use ndarray::{Array1, ArrayD, ArrayViewD, Axis, arr0, arr1};

use crate::onnx::graph::{Attribute, Graph, Initializer, Node};

/// Least and greatest of what a value was seen to be, by its name.
pub type Ranges = HashMap<String, (f32, f32)>;

/// Largest magnitude of a quantised weight. Seven bits: without VNNI, x86 adds two products of a `uint8` and an
/// `int8` in 16 bits, and 2 * 255 * 64 is the most that fits.
const WEIGHT_MAX: f32 = 64.0;

/// Largest magnitude of a quantised bias, of which sums of products need to keep some distance to 2^31.
const BIAS_MAX: f32 = (1_u32 << 30) as f32;

/// Why a graph cannot be quantised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantizeError {
    /// Nothing is known of a value.
    #[error("{0} was not seen in calibration")]
    Range(String),
}

/// Names of the values whose ranges [`quantize`] needs.
pub fn quantized_values(graph: &Graph) -> Vec<String> {
    let plan = Plan::new(graph);
    plan.values.into_iter().map(str::to_owned).collect()
}

/// Quantises the graph, given the ranges of its [`quantized_values`].
///
/// # Errors
/// [`QuantizeError`]; the graph is then as it was.
pub fn quantize(graph: &mut Graph, ranges: &Ranges) -> Result<(), QuantizeError> {
    let plan = Plan::new(graph);
    let scales = Scales::new(graph, &plan, ranges)?;
    let mut nodes = Vec::with_capacity(3 * graph.nodes.len());
    let mut initializers = IndexMap::new();
    for input in &graph.inputs {
        if let Some(scale) = scales.of(&input.name) {
            nodes.extend(scale.pair(&format!("/{}", input.name), &mut initializers));
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let mut node = node.clone();
        let output = node.output.clone();
        if plan.nodes.contains(&index) {
            weights(graph, &mut node, &scales, &mut nodes, &mut initializers);
        }
        for input in &mut node.inputs {
            if scales.of(input).is_some() {
                *input = dequantized(input);
            } else if let Some(constant) = graph.initializers.get(input) {
                initializers.entry(input.clone()).or_insert_with(|| constant.clone());
            }
        }
        let name = node.name.clone();
        nodes.push(node);
        if let Some(scale) = scales.of(&output) {
            nodes.extend(scale.pair(&name, &mut initializers));
        }
    }
    (graph.nodes, graph.initializers) = (nodes, initializers);
    Ok(())
}

/// What is quantised.
struct Plan<'g> {
    /// Indices of the nodes.
    nodes: HashSet<usize>,
    /// What goes in and comes out of them.
    values: IndexSet<&'g str>,
    /// Values with the scale of another: a maximum is one of what it was taken of.
    same: HashMap<&'g str, &'g str>,
}

impl<'g> Plan<'g> {
    fn new(graph: &'g Graph) -> Self {
        let readers = Readers::new(graph);
        let gates = gates(graph, &readers);
        let mut plan = Self { nodes: HashSet::new(), values: IndexSet::new(), same: HashMap::new() };
        for (index, node) in graph.nodes.iter().enumerate() {
            let is_value = |name: &&String| !graph.initializers.contains_key(*name);
            let wanted = match node.op {
                "Conv" | "Gemm" => node.inputs[1..].iter().all(|name| graph.float(name).is_some()),
                "Add" => node.inputs.iter().all(|name| is_value(&name)),
                "MaxPool" => plan.values.contains(node.inputs[0].as_str()),
                _ => false,
            };
            if !wanted || gates.contains(&index) {
                continue;
            }
            plan.nodes.insert(index);
            let result = readers.after_relu(&node.output);
            plan.values.extend(node.inputs.iter().filter(is_value).map(String::as_str));
            if !graph.outputs.iter().any(|output| output.name == result) {
                plan.values.insert(result);
            }
            if node.op == "MaxPool" {
                let input = node.inputs[0].as_str();
                plan.same.insert(result, plan.same.get(input).copied().unwrap_or(input));
            }
        }
        plan
    }
}

/// Which nodes read a value.
struct Readers<'g> {
    graph: &'g Graph,
    by_value: HashMap<&'g str, Vec<usize>>,
}

impl<'g> Readers<'g> {
    fn new(graph: &'g Graph) -> Self {
        let mut by_value: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|input| by_value.entry(input).or_default().push(index));
        }
        Self { graph, by_value }
    }

    fn of(&self, value: &str) -> &[usize] {
        self.by_value.get(value).map_or(&[], Vec::as_slice)
    }

    /// Where only a `Relu` reads `value`, what it gives: quantised values cannot be negative below a zero point of 0,
    /// so that a runtime drops the `Relu`.
    fn after_relu(&self, value: &'g str) -> &'g str {
        match *self.of(value) {
            [reader] if self.graph.nodes[reader].op == "Relu" => &self.graph.nodes[reader].output,
            _ => value,
        }
    }
}

/// Indices of the nodes that only serve to scale something else through a sigmoid.
fn gates(graph: &Graph, readers: &Readers<'_>) -> HashSet<usize> {
    let mut scaling: HashSet<usize> = HashSet::new();
    let mut gates = HashSet::new();
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let readers = readers.of(&node.output);
        let all = |set: &HashSet<usize>, op: &str| {
            !readers.is_empty()
                && readers.iter().all(|reader| set.contains(reader) || graph.nodes[*reader].op == op)
        };
        match node.op {
            "Unsqueeze" if all(&scaling, "Mul") => {
                scaling.insert(index);
            }
            "Sigmoid" if all(&scaling, "Mul") => {
                gates.insert(index);
            }
            _ if all(&gates, "") => {
                gates.insert(index);
            }
            _ => {}
        }
    }
    gates
}

/// How values are quantised.
struct Scales(HashMap<String, Scale>);

/// `real = scale * (quantised - zero_point)`.
#[derive(Clone)]
struct Scale {
    value: String,
    /// Whose scale it is.
    owner: String,
    scale: f32,
    zero_point: u8,
}

impl Scales {
    fn new(graph: &Graph, plan: &Plan<'_>, ranges: &Ranges) -> Result<Self, QuantizeError> {
        let scale = |&value: &&str| {
            let owner = *plan.same.get(value).unwrap_or(&value);
            let range = ranges.get(owner).ok_or_else(|| QuantizeError::Range(owner.into()))?;
            Ok((value.to_owned(), Scale::new(value, owner, *range)))
        };
        let known = |value: &&&str| !graph.initializers.contains_key(**value);
        plan.values.iter().filter(known).map(scale).collect::<Result<_, _>>().map(Self)
    }

    fn of(&self, value: &str) -> Option<&Scale> {
        self.0.get(value)
    }
}

impl Scale {
    /// Of `[low, high]` widened to hold 0, which padding needs to be exact.
    fn new(value: &str, owner: &str, (low, high): (f32, f32)) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let width = (high - low) / 255.0;
        let scale = if width > 0.0 && width.is_finite() { width } else { 1.0 };
        let zero_point = (-low / scale).round().clamp(0.0, 255.0) as u8;
        Self { value: value.into(), owner: owner.into(), scale, zero_point }
    }

    /// The two nodes behind the node `name`, which give the value as it is after quantisation.
    fn pair(&self, name: &str, initializers: &mut IndexMap<String, Initializer>) -> [Node; 2] {
        let scale = format!("{}_scale", self.owner);
        let zero_point = format!("zero_point_{}", self.zero_point);
        initializers.entry(scale.clone()).or_insert_with(|| Initializer::scalar(self.scale));
        initializers
            .entry(zero_point.clone())
            .or_insert_with(|| Initializer::Uint8(arr0(self.zero_point).into_dyn()));
        let (value, quantized) = (&self.value, format!("{}_quantized", self.value));
        let node = |op, input: &str, output| Node {
            name: format!("{name}/{op}"),
            op,
            inputs: vec![input.into(), scale.clone(), zero_point.clone()],
            output,
            attributes: vec![],
        };
        [
            node("QuantizeLinear", value, quantized.clone()),
            node("DequantizeLinear", &quantized, dequantized(value)),
        ]
    }
}

fn dequantized(value: &str) -> String {
    format!("{value}_dequantized")
}

/// Quantises the constants of a convolution or linear layer.
fn weights(
    graph: &Graph,
    node: &mut Node,
    scales: &Scales,
    nodes: &mut Vec<Node>,
    initializers: &mut IndexMap<String, Initializer>,
) {
    let operands: Vec<_> = node.inputs.iter().skip(1).filter_map(|name| graph.float(name)).collect();
    let (Some(kernel), Some(input)) = (operands.first(), scales.of(&node.inputs[0])) else { return };
    if kernel.ndim() < 2 {
        return;
    }
    let bias = operands.get(1);
    let by_channel = channel_scales(kernel, bias.copied(), input.scale);
    let mut rounded = (*kernel).clone();
    for (mut filter, scale) in rounded.axis_iter_mut(Axis(0)).zip(&by_channel) {
        filter.mapv_inplace(|weight| (weight / scale).round().clamp(-WEIGHT_MAX, WEIGHT_MAX));
    }
    let kernel = Initializer::Int8(rounded.mapv(|weight| weight as i8));
    let bias = bias.map(|bias| {
        let scales: Vec<f32> = by_channel.iter().map(|scale| scale * input.scale).collect();
        let values = bias.iter().zip(&scales).map(|(bias, scale)| (bias / scale).round() as i32);
        (Initializer::Int32(values.collect::<Array1<_>>().into_dyn()), scales)
    });
    node.inputs[1] = constant(&node.inputs[1], kernel, by_channel, nodes, initializers);
    if let Some((values, scales)) = bias {
        node.inputs[2] = constant(&node.inputs[2], values, scales, nodes, initializers);
    }
}

/// Adds a quantised constant with the node that makes floats of it; gives the name of those.
///
/// A layer that is used twice on values of different scales has two biases.
fn constant(
    name: &str,
    values: Initializer,
    scales: Vec<f32>,
    nodes: &mut Vec<Node>,
    initializers: &mut IndexMap<String, Initializer>,
) -> String {
    let len = scales.len();
    let zeros = match values {
        Initializer::Int8(_) => (format!("zeros_int8_{len}"), Initializer::Int8(ArrayD::zeros(vec![len]))),
        _ => (format!("zeros_int32_{len}"), Initializer::Int32(ArrayD::zeros(vec![len]))),
    };
    let scales = Initializer::Float(arr1(&scales).into_dyn());
    let mut name = name.to_owned();
    loop {
        let (quantized, scale) = (format!("{name}_quantized"), format!("{name}_scale"));
        let output = dequantized(&name);
        match initializers.get(&quantized) {
            None => {
                let node = Node {
                    name: format!("/{}/DequantizeLinear", name.replace('.', "/")),
                    op: "DequantizeLinear",
                    inputs: vec![quantized.clone(), scale.clone(), zeros.0.clone()],
                    output: output.clone(),
                    attributes: vec![("axis", Attribute::Int(0))],
                };
                nodes.push(node);
                initializers.extend([(quantized, values), (scale, scales)]);
                initializers.entry(zeros.0).or_insert(zeros.1);
                return output;
            }
            Some(known) if *known == values && initializers.get(&scale) == Some(&scales) => return output,
            Some(_) => name.push_str("_again"),
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
    use crate::layers::{Attention, Cbam, Conv2d, Linear, MaxPool2d};
    use crate::onnx::{Interface, Opset, trace};
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

    fn graph() -> Graph {
        let network = Network::new();
        let weights = testing::weights(&network, &[1, 3, 8, 8]).unwrap();
        trace(&network, &weights, &Interface::new([3, 8, 8]), Opset::default()).unwrap()
    }

    fn ranges(graph: &Graph) -> Ranges {
        let range = |(index, name): (usize, String)| (name, (-1.0, 2.0 + index as f32));
        quantized_values(graph).into_iter().enumerate().map(range).collect()
    }

    fn quantized() -> Graph {
        let mut graph = graph();
        let ranges = ranges(&graph);
        quantize(&mut graph, &ranges).unwrap();
        graph
    }

    fn node<'g>(graph: &'g Graph, name: &str) -> &'g Node {
        graph.nodes.iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no {name}"))
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
                assert_eq!(graph.initializers[input].element(), crate::onnx::Element::Float, "{node:?}");
            }
        }
        assert_eq!(graph.outputs[0].name, node(&graph, "/fc/Gemm").output, "logits stay floats");
    }

    #[test]
    fn pairs_stand_behind_the_relu_and_a_max_pool_keeps_its_scale() {
        let graph = quantized();
        let relu = node(&graph, "/Relu");
        assert_eq!(relu.inputs[0], node(&graph, "/conv/Conv").output, "nothing between");
        let behind = |name: &str| &node(&graph, &format!("{name}/QuantizeLinear")).inputs[1];
        assert_eq!(behind("/Relu"), behind("/MaxPool"));
        assert_ne!(behind("/Relu"), behind("/shared/Conv_1"));
        let defined: HashSet<_> = graph.nodes.iter().map(|node| &node.output).collect();
        for input in graph.nodes.iter().flat_map(|node| &node.inputs) {
            assert!(
                input == "input" || defined.contains(input) || graph.initializers.contains_key(input),
                "{input}"
            );
        }
    }

    #[test]
    fn constants_are_within_half_a_step_and_products_fit_16_bits() {
        let (before, after) = (graph(), quantized());
        for (name, suffixes) in [
            ("conv.weight", [""; 2]),
            ("shared.weight", [""; 2]),
            ("conv.bias", [""; 2]),
            ("shared.bias", ["", "_again"]),
        ] {
            let floats = before.float(name).unwrap();
            for suffix in suffixes {
                let integers = match &after.initializers[&format!("{name}{suffix}_quantized")] {
                    Initializer::Int8(values) => values.mapv(f32::from),
                    Initializer::Int32(values) => values.mapv(|value| value as f32),
                    other => panic!("{other:?}"),
                };
                let scales = after.float(&format!("{name}{suffix}_scale")).unwrap();
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
