//! Batch normalisation folded into the convolution before it.

use std::collections::HashSet;

use ndarray::{ArrayD, Axis, arr1};

use super::eliminate_dead_nodes;
use crate::onnx::graph::{Graph, unique};
use crate::onnx::index::Index;
use crate::onnx::model::Model;
use crate::onnx::node::Node;
use crate::onnx::tensor::Tensor;

/// Merges every [`BatchNormalization`](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html) whose input is a
/// [`Conv`](https://onnx.ai/onnx/operators/onnx__Conv.html) with no other reader into that `Conv`.
///
/// With `s = weight / sqrt(running_var + epsilon)`, the convolution's weights become `s w` and its bias
/// `s (b - running_mean) + shift`, computed in double precision. Left as they are: normalisation in training, weights
/// that are not constants of 32-bit floats, and weights that others read too.
pub fn fold_batch_norm(model: &mut Model) {
    let opset = model.opset().unwrap_or(1);
    let folded = model.edit(|model| {
        let trained: HashSet<String> = model.training_reads().map(str::to_owned).collect();
        let graph = &mut model.graph;
        let index = Index::new(graph);
        let norms = (0..graph.nodes.len()).filter(|&at| is_inference(&graph.nodes[at], opset));
        let folds: Vec<Fold> = norms.filter_map(|norm| Fold::find(&index, norm)).collect();
        let mut names = graph.names();
        let mut merged = HashSet::new();
        for fold in folds.into_iter().filter(|fold| !trained.contains(&fold.kernel.name)) {
            merged.insert(fold.norm);
            fold.apply(graph, &mut names);
        }
        let mut at = 0..;
        graph.nodes.retain(|_| at.next().is_some_and(|at| !merged.contains(&at)));
        !merged.is_empty()
    });
    if folded {
        eliminate_dead_nodes(model);
    }
}

/// True if `node` normalises by the statistics that it is given.
fn is_inference(node: &Node, opset: i64) -> bool {
    node.is("BatchNormalization")
        && node.only_output().is_some()
        && node.int("training_mode", 0) == Some(0)
        && node.int("spatial", 1) == Some(1)
        && (opset >= 7 || node.int("is_test", 0) == Some(1))
}

/// A normalisation that can be merged, with what the convolution becomes.
struct Fold {
    conv: usize,
    norm: usize,
    kernel: Constant,
    bias: ArrayD<f32>,
    /// Name of the convolution's bias, if no other node reads that initializer.
    own_bias: Option<String>,
}

struct Constant {
    name: String,
    values: ArrayD<f32>,
}

impl Fold {
    /// The fold of the normalisation at `norm`; nothing where an operand is not a constant, or is shared.
    fn find(index: &Index<'_>, norm: usize) -> Option<Self> {
        let node = index.node(norm);
        let conv = index.producer_of(node.input(0)?, "Conv")?;
        let convolution = index.node(conv);
        let (result, kernel) = (convolution.only_output()?, convolution.input(1)?);
        if index.uses(result) != 1 || index.uses_of_values(kernel) != 1 {
            return None;
        }
        let mut values = index.array::<f32>(kernel)?;
        let channels = *values.shape().first()?;
        let per_channel = |name| -> Option<Vec<f64>> {
            let values = index.array::<f32>(name)?;
            (values.shape() == [channels]).then(|| values.iter().map(|&value| f64::from(value)).collect())
        };
        let [weight, shift, mean, var] = [1, 2, 3, 4].map(|at| node.input(at).and_then(per_channel));
        let (weight, shift, mean, var) = (weight?, shift?, mean?, var?);
        let epsilon = f64::from(node.float("epsilon", 1e-5)?);
        let before = match convolution.input(2) {
            Some(name) => per_channel(name)?,
            None => vec![0.0; channels],
        };
        let scale: Vec<f64> =
            weight.iter().zip(&var).map(|(weight, var)| weight / (var + epsilon).sqrt()).collect();
        for (mut filter, scale) in values.axis_iter_mut(Axis(0)).zip(&scale) {
            filter.mapv_inplace(|value| (f64::from(value) * scale) as f32);
        }
        let bias: Vec<f32> =
            (0..channels).map(|c| (scale[c] * (before[c] - mean[c]) + shift[c]) as f32).collect();
        let own_bias = convolution.input(2).filter(|name| index.uses(name) == 1).map(str::to_owned);
        let kernel = Constant { name: kernel.into(), values };
        Some(Self { conv, norm, kernel, bias: arr1(&bias).into_dyn(), own_bias })
    }

    /// Rewrites the convolution; the normalisation is still there.
    fn apply(self, graph: &mut Graph, names: &mut HashSet<String>) {
        let wanted = format!("{}.bias", self.kernel.name.trim_end_matches(".weight"));
        let bias = match self.own_bias.filter(|own| *own == wanted && graph.initializers.contains_key(own)) {
            Some(own) => own,
            None => unique(&wanted, names),
        };
        let values = Tensor::from(self.kernel.values);
        let position = match graph.initializers.get_index_of(&self.kernel.name) {
            Some(position) => {
                graph.initializers[position] = values;
                position
            }
            // From here on the weights are no result of a node.
            None => {
                let name = unique(&self.kernel.name, names);
                graph.nodes[self.conv].inputs[1].clone_from(&name);
                graph.initializers.insert_full(name, values).0
            }
        };
        graph.initializers.shift_insert(position + 1, bias.clone(), self.bias.into());
        let output = graph.nodes[self.norm].outputs[0].clone();
        let conv = &mut graph.nodes[self.conv];
        conv.inputs.truncate(2);
        conv.inputs.push(bias);
        conv.outputs = vec![output];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{BatchNorm2d, Conv2d, Init};
    use crate::onnx::{Element, Interface, Opset, ValueInfo, trace};
    use crate::{Module, Ops, Weights, shapes};

    struct ConvNorm {
        conv: Conv2d,
        norm: BatchNorm2d,
        /// Reads the convolution a second time.
        shared: bool,
    }

    impl Module for ConvNorm {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let y = ops.conv2d(x, &self.conv)?;
            let z = ops.batch_norm(&y, &self.norm)?;
            if self.shared { ops.add(&y, &z) } else { Ok(z) }
        }
    }

    fn graph(bias: bool, shared: bool) -> Model {
        let conv = Conv2d { bias, ..Conv2d::new("conv", 1, 2, 1) };
        let module = ConvNorm { conv, norm: BatchNorm2d::new("norm", 2), shared };
        let mut weights = Weights::new();
        for param in shapes::describe(&module, &[1, 1, 4, 4]).unwrap().params {
            assert!(matches!(param.init, Init::Constant(_) | Init::Uniform { .. }));
            let values = match param.name.as_str() {
                "conv.weight" => vec![2.0, -3.0],
                "conv.bias" => vec![0.5, 1.0],
                "norm.weight" => vec![4.0, 0.5],
                "norm.bias" => vec![1.0, -1.0],
                "norm.running_mean" => vec![0.25, -2.0],
                "norm.running_var" => vec![4.0 - 1e-5, 0.25 - 1e-5],
                other => panic!("{other}"),
            };
            weights.insert(param.name, ArrayD::from_shape_vec(param.shape, values).unwrap());
        }
        trace(&module, &weights, &Interface::new([1, 4, 4]), Opset::default()).unwrap()
    }

    fn close(model: &Model, name: &str, expected: &[f32]) {
        let values = model.graph.initializers[name].to_vec::<f32>().unwrap();
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{name}: {values:?} is not {expected:?}");
        }
    }

    #[test]
    fn scales_the_kernel_and_moves_the_bias() {
        // scale = [4 / 2, 0.5 / 0.5] = [2, 1]
        let mut folded = graph(true, false);
        fold_batch_norm(&mut folded);
        close(&folded, "conv.weight", &[4.0, -3.0]);
        close(&folded, "conv.bias", &[2.0 * (0.5 - 0.25) + 1.0, (1.0 + 2.0) - 1.0]);
        assert_eq!(folded.graph.nodes.len(), 1);
        assert_eq!(folded.graph.nodes[0].outputs[0], "output");
        assert_eq!(folded.graph.initializers.keys().collect::<Vec<_>>(), ["conv.weight", "conv.bias"]);
    }

    #[test]
    fn gives_a_convolution_without_bias_one() {
        let mut folded = graph(false, false);
        fold_batch_norm(&mut folded);
        close(&folded, "conv.bias", &[-2.0 * 0.25 + 1.0, 2.0 - 1.0]);
    }

    #[test]
    fn leaves_a_convolution_with_other_readers() {
        let before = graph(true, true);
        let mut after = before.clone();
        fold_batch_norm(&mut after);
        assert_eq!(after, before);
    }

    /// Files of other programs: constants in nodes, no epsilon, names that are taken.
    #[test]
    fn folds_constants_of_nodes_and_takes_no_name_twice() {
        let mut model = graph(false, false);
        let graph = &mut model.graph;
        graph.nodes[1].attributes.clear();
        let kernel = graph.initializers.shift_remove("conv.weight").unwrap();
        let made = Node::new("Constant", [""; 0], ["conv.weight"]).with("value", kernel);
        graph.nodes.insert(0, made);
        let taken = Node::new("Relu", ["output"], ["conv.bias"]);
        graph.nodes.push(taken);
        graph.outputs.push(ValueInfo::tensor("conv.bias", Element::Float, []));
        fold_batch_norm(&mut model);
        let ops: Vec<_> = model.graph.nodes.iter().map(Node::standard).collect();
        assert_eq!(ops, ["Conv", "Relu"]);
        let inputs = model.graph.nodes[0].inputs.clone();
        assert_eq!(inputs[1..], ["conv.weight_1", "conv.bias_1"]);
        close(&model, &inputs[1], &[4.0, -3.0]);
        close(&model, &inputs[2], &[-2.0 * 0.25 + 1.0, 2.0 - 1.0]);
    }

    /// Each of these changes what the two compute, or lets others see it.
    #[test]
    fn leaves_what_is_not_plainly_a_normalisation_after_a_convolution() {
        let shape = |name: &str| ValueInfo::tensor(name, Element::Float, []);
        let changes: [fn(&mut Model); 8] = [
            |model| model.graph.nodes[0].domain = "other".into(),
            |model| model.graph.nodes[1].domain = "other".into(),
            |model| model.graph.nodes[1].outputs.extend(["mean".into(), "var".into()]),
            |model| model.graph.nodes[1] = model.graph.nodes[1].clone().with("training_mode", 1),
            |model| model.graph.nodes[0].inputs[1] = "input".into(),
            |model| model.opsets[0].version = Some(6),
            |model| {
                let half = Tensor::from_raw(Element::Float16, [2], vec![0; 4]);
                model.graph.initializers.insert("norm.bias".into(), half);
            },
            |model| {
                let branch =
                    Graph { nodes: vec![Node::new("Relu", ["conv.weight"], ["y"])], ..Graph::default() };
                model.graph.nodes.push(Node::new("If", ["c"], [""; 0]).with("then_branch", branch));
            },
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut before = graph(false, false);
            change(&mut before);
            let mut after = before.clone();
            fold_batch_norm(&mut after);
            assert_eq!(after, before, "change {at}");
        }
        for name in ["conv.weight", "norm.running_mean"] {
            let mut before = graph(false, false);
            before.graph.inputs.push(shape(name));
            let mut after = before.clone();
            fold_batch_norm(&mut after);
            assert_eq!(after, before, "the caller may replace {name}");
            // Before IR version 4 every initializer is an input.
            before.ir_version = Some(3);
            fold_batch_norm(&mut before);
            let inputs: Vec<_> = before.graph.inputs.iter().map(|input| &*input.name).collect();
            let listed: Vec<_> = before.graph.initializers.keys().map(String::as_str).collect();
            assert_eq!(before.graph.nodes.len(), 1);
            assert_eq!((inputs[0], &inputs[1..], listed.len()), ("input", &listed[..], 2));
        }
    }
}
