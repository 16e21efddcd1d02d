//! Attention over the channels as it is spelled in files: those of our exporter, and of PyTorch's two (`dynamo=False` and
//! `True`).
//!
//! | | ours | PyTorch, TorchScript | PyTorch, dynamo |
//! |---|---|---|---|
//! | means | `GlobalAveragePool` | `GlobalAveragePool` | `ReduceMean` over `[-1, -2]` |
//! | maxima | `GlobalMaxPool` | `MaxPool` as large as the image | `ReduceMax` over `[-2, -1]` |
//! | to `[N, C]` | `Flatten` | `Reshape` to a shape that is computed | `Reshape` |
//! | MLP of CBAM | `Gemm` with one pair of weights | `MatMul` with a copy of the weights each | `Gemm` |
//! | MLP of SE | `Conv` | `Conv`, or `Gemm` with biases | `Conv` or `Gemm` |
//! | convolution of ECA | on `[N, 1, C]` by `Unsqueeze` | `Squeeze` and `Transpose`, or `Reshape` | the same |
//! | to `[N, C, 1, 1]` | `Unsqueeze` | `Reshape` to a shape that is computed | `Reshape` |

use ndarray::{Array1, Array2, Ix1, Ix2, s};

use super::matcher::{Matcher, Mismatch, Result};
use super::pooled::Pooled;
use super::{Kind, Part, Weights};

/// Candidate subgraphs for channel attention of CBAM, each with its match or the reason for rejection.
pub fn cbam_candidates(graph: &Matcher<'_>) -> Vec<(usize, Result<Part>)> {
    let found = means(graph).filter_map(|mean| Some((mean, cbam(graph, mean, maximum(graph, mean)?))));
    found.collect()
}

/// Candidate subgraphs for attention without maxima, SE and ECA, each with its match or the reason for rejection.
pub fn candidates(graph: &Matcher<'_>) -> Vec<(usize, Result<Part>)> {
    let single = means(graph).filter(|&mean| maximum(graph, mean).is_none());
    let scaled = |mean| Some((mean, graph.beside(mean, |node| graph.operator(node) == "Mul")?));
    single.filter_map(scaled).map(|(mean, scale)| (mean, of_means(graph, mean, scale))).collect()
}

/// Means over height and width.
fn means(graph: &Matcher<'_>) -> impl Iterator<Item = usize> {
    (0..graph.graph().nodes.len()).filter(|&node| pools(graph, node, &["GlobalAveragePool"], "ReduceMean"))
}

/// The maximum over height and width of what `mean` takes means of.
fn maximum(graph: &Matcher<'_>, mean: usize) -> Option<usize> {
    graph.beside(mean, |node| pools(graph, node, &["GlobalMaxPool", "MaxPool"], "ReduceMax"))
}

/// True if the node is one of `operators`, or a `reduction` over height and width.
fn pools(graph: &Matcher<'_>, node: usize, operators: &[&str], reduction: &str) -> bool {
    let operator = graph.operator(node);
    operators.contains(&operator) || (operator == reduction && graph.axes(node, 4) == [2, 3])
}

/// `x * gate(mlp(mean(x)) + mlp(max(x)))`, with an MLP without biases.
fn cbam(graph: &Matcher<'_>, mean: usize, max: usize) -> Result<Part> {
    graph.common(mean, max)?;
    let [of_mean, of_max] = [Mlp::of(graph, mean)?, Mlp::of(graph, max)?];
    if (&of_mean.squeeze, &of_mean.excite) != (&of_max.squeeze, &of_max.excite) {
        return Err(Mismatch("means and maxima go through different weights".into()));
    }
    let mut biases = [&of_mean.hidden, &of_mean.bias, &of_max.hidden, &of_max.bias].into_iter().flatten();
    if let Some(bias) = biases.next() {
        return Err(Mismatch(format!("bias of {} is another", graph.node(bias.node).name)));
    }
    let add = graph.only(of_mean.scores.value, &["Add"])?;
    let [squeeze, excite] = of_mean.rows(graph);
    let scores = of_mean.scores.joined(of_max.scores, graph, add)?;
    Part::of_scores(graph, Kind::Channel, scores, vec![squeeze, excite])
}

/// `x * gate(mlp(mean(x)))`, or `x * gate(conv(mean(x)))` with a convolution along the channels.
fn of_means(graph: &Matcher<'_>, mean: usize, scale: usize) -> Result<Part> {
    graph.common(mean, scale)?;
    let pooled = Pooled::of(graph, mean)?;
    if pooled.is_row() {
        return eca(graph, pooled);
    }
    let mlp = Mlp::of(graph, mean)?;
    let [squeeze, excite] = mlp.rows(graph);
    let (hidden, channels) = mlp.squeeze.dim();
    let mut biases = [Array1::zeros(hidden), Array1::zeros(graph.padded(channels))];
    for (bias, values) in [&mlp.hidden, &mlp.bias].into_iter().zip(&mut biases) {
        let Some(bias) = bias else { continue };
        values.slice_mut(s![..bias.values.len()]).assign(&bias.values);
    }
    let [hidden, bias] = biases;
    let weights = vec![
        squeeze,
        Weights { name: "squeeze_bias", values: hidden.into_dyn() },
        excite,
        Weights { name: "excite_bias", values: bias.into_dyn() },
    ];
    Part::of_scores(graph, Kind::Se, mlp.scores, weights)
}

/// `x * gate(conv(pooled))`, where `pooled` is `[N, 1, C]`.
fn eca<'g>(graph: &Matcher<'g>, pooled: Pooled<'g>) -> Result<Part> {
    let conv = graph.only(pooled.value, &["Conv"])?;
    let values = graph.floats(graph.input(conv, 1)?)?;
    let side = values.shape().last().copied().unwrap_or_default();
    graph.expect(conv, "kernel", values.shape() == [1, 1, side] && side % 2 == 1)?;
    graph.keeps_size(conv, &[side])?;
    graph.expect(conv, "bias", graph.node(conv).input(2).is_none())?;
    Part::of_scores(graph, Kind::Eca, pooled.through(graph, conv)?, vec![Weights { name: "taps", values }])
}

/// Bias of a layer.
struct Bias {
    node: usize,
    values: Array1<f32>,
}

/// Way of pooled values through two layers, with ReLU between.
struct Mlp<'g> {
    /// `[hidden, C]`.
    squeeze: Array2<f32>,
    hidden: Option<Bias>,
    /// `[C, hidden]`.
    excite: Array2<f32>,
    bias: Option<Bias>,
    scores: Pooled<'g>,
}

impl<'g> Mlp<'g> {
    /// The way from the pool at `node` through both layers.
    fn of(graph: &Matcher<'g>, node: usize) -> Result<Self> {
        let pooled = Pooled::of(graph, node)?;
        let (squeeze, hidden, pooled) = layer(graph, pooled)?;
        let relu = graph.only(pooled.value, &["Relu"])?;
        let (excite, bias, scores) = layer(graph, pooled.through(graph, relu)?)?;
        let last = scores.nodes.last().copied().unwrap_or(relu);
        graph.expect(last, "shape", excite.dim() == (squeeze.ncols(), squeeze.nrows()))?;
        Ok(Self { squeeze, hidden, excite, bias, scores })
    }

    /// Both matrices as rows along the channels, of whole blocks.
    fn rows(&self, graph: &Matcher<'_>) -> [Weights; 2] {
        let (hidden, channels) = self.squeeze.dim();
        [("squeeze", self.squeeze.view()), ("excite", self.excite.t())].map(|(name, matrix)| {
            let mut padded = Array2::zeros((hidden, graph.padded(channels)));
            padded.slice_mut(s![.., ..channels]).assign(&matrix);
            Weights { name, values: padded.into_dyn() }
        })
    }
}

/// Weights `[out, in]` and bias of the layer that reads `pooled`, and its result.
fn layer<'g>(graph: &Matcher<'g>, pooled: Pooled<'g>) -> Result<(Array2<f32>, Option<Bias>, Pooled<'g>)> {
    let operators: &[&str] = if pooled.is_of_rank(4) { &["Conv"] } else { &["Gemm", "MatMul"] };
    let node = graph.only(pooled.value, operators)?;
    let name = graph.input(node, 1)?;
    let weights = graph.floats(name)?;
    let other_shape = |_| Mismatch(format!("{name} is of another shape"));
    let weights = match graph.operator(node) {
        "Conv" => {
            graph.expect(node, "kernel", weights.shape().get(2..) == Some(&[1, 1][..]))?;
            graph.keeps_size(node, &[1, 1])?;
            let sizes = (weights.shape()[0], weights.shape()[1]);
            weights.into_shape_with_order(sizes).map_err(other_shape)?
        }
        _ => {
            graph.expect(node, "shape", pooled.is_of_rank(2))?;
            let operator = graph.node(node);
            let plain = ["alpha", "beta"].iter().all(|name| operator.float(name, 1.0) == Some(1.0));
            graph.expect(node, "alpha, beta or transA", plain && graph.is_int(node, "transA", 0, 0))?;
            let stored = weights.into_dimensionality::<Ix2>().map_err(other_shape)?;
            if operator.int("transB", 0) == Some(1) { stored } else { stored.reversed_axes() }
        }
    };
    let bias = graph.node(node).input(2).map(|name| bias(graph, node, name, weights.nrows())).transpose()?;
    Ok((weights, bias, pooled.through(graph, node)?))
}

/// The bias `name` of the layer at `node`, which has `outputs` units.
fn bias<'g>(graph: &Matcher<'g>, node: usize, name: &'g str, outputs: usize) -> Result<Bias> {
    let values = graph.floats(name)?.into_dimensionality::<Ix1>().ok();
    let values = values.filter(|values| values.len() == outputs);
    let values = values.ok_or_else(|| Mismatch(format!("bias of {} is another", graph.node(node).name)))?;
    Ok(Bias { node, values })
}
