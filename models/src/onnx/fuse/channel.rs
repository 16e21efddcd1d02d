//! Channel attention as it is spelled in files: those of our exporter, and of PyTorch's two (`dynamo=False` and `True`).
//!
//! | | ours | PyTorch, TorchScript | PyTorch, dynamo |
//! |---|---|---|---|
//! | means | `GlobalAveragePool` | `GlobalAveragePool` | `ReduceMean` over `[-1, -2]` |
//! | maxima | `GlobalMaxPool` | `MaxPool` as large as the image | `ReduceMax` over `[-2, -1]` |
//! | to `[N, C]` | `Flatten` | `Reshape` to a shape that is computed | `Reshape` |
//! | MLP | `Gemm` with one pair of weights | `MatMul` with a copy of the weights each | `Gemm` |
//! | to `[N, C, 1, 1]` | `Unsqueeze` | `Reshape` to a shape that is computed | `Reshape` |

use ndarray::{Array2, Ix2, s};

use super::matcher::{Matcher, Mismatch, Result};
use super::shape::Size;
use super::{Kind, Part, Weights, spatial};

/// Candidate subgraphs for channel attention, each with its match or the reason for rejection.
pub fn candidates(graph: &Matcher<'_>) -> Vec<(usize, Result<Part>)> {
    spatial::pairs(graph, &["GlobalAveragePool"], &["GlobalMaxPool", "MaxPool"], &[2, 3])
        .into_iter()
        .map(|(mean, max)| (mean, channel_at(graph, mean, max)))
        .collect()
}

/// `x * sigmoid(mlp(mean(x)) + mlp(max(x)))`.
fn channel_at(graph: &Matcher<'_>, mean: usize, max: usize) -> Result<Part> {
    let x = spatial::common(graph, mean, max)?;
    for pool in [mean, max] {
        match graph.operator(pool) {
            "MaxPool" => covers(graph, pool)?,
            "ReduceMean" | "ReduceMax" => graph.keeps_dimensions(pool)?,
            _ => {}
        }
    }
    let [of_mean, of_max] = [scores(graph, mean)?, scores(graph, max)?];
    if (&of_mean.squeeze, &of_mean.excite) != (&of_max.squeeze, &of_max.excite) {
        return Err(Mismatch("means and maxima go through different weights".into()));
    }
    let add = graph.only(of_mean.output, &["Add"])?;
    graph.joins(add, of_mean.output, of_max.output)?;
    graph.read_only_by(of_max.output, &[add])?;
    let gate = graph.only(graph.output(add)?, &["Sigmoid"])?;
    let spread = graph.only(graph.output(gate)?, &["Unsqueeze", "Reshape"])?;
    let (hidden, channels) = of_mean.squeeze.dim();
    let spreads = match graph.operator(spread) {
        "Unsqueeze" => graph.axes(spread) == [2, 3],
        // The first number can only be that of the images.
        _ => match graph.shape(graph.input(spread, 1)?).as_deref() {
            Some([_, size, Size::Constant(1), Size::Constant(1)]) => {
                *size == Size::Constant(channels as i64) || *size == Size::Of(x, 1)
            }
            _ => false,
        },
    };
    graph.expect(spread, "shape", spreads)?;
    let scale = graph.only(graph.output(spread)?, &["Mul"])?;
    graph.joins(scale, x, graph.output(spread)?)?;

    let rows = |name, matrix: &Array2<f32>| {
        let mut padded = Array2::zeros((hidden, channels.next_multiple_of(graph.block.max(1))));
        padded.slice_mut(s![.., ..channels]).assign(matrix);
        Weights { name, values: padded.into_dyn() }
    };
    Ok(Part {
        kind: Kind::Channel,
        nodes: [&of_mean.nodes[..], &of_max.nodes, &[mean, max, add, gate, spread, scale]].concat(),
        end: scale,
        x: x.into(),
        output: graph.output(scale)?.into(),
        weights: vec![rows("squeeze", &of_mean.squeeze), rows("excite", &of_mean.excite.reversed_axes())],
    })
}

/// Checks that the pool at `node` takes the whole image.
fn covers(graph: &Matcher<'_>, node: usize) -> Result<()> {
    let extent = graph.extent(graph.input(node, 0)?).ok_or_else(|| {
        Mismatch(format!("{} has a fixed window, on an image of unknown size", graph.node(node).name))
    })?;
    let whole = graph.is_ints(node, "kernel_shape", &[], &extent)
        && graph.is_ints(node, "pads", &[0; 4], &[0; 4])
        && graph.is_ints(node, "dilations", &[1, 1], &[1, 1])
        && graph.pads_as_said(node);
    graph.expect(node, "window", whole)
}

/// One way through the MLP.
struct Scores<'g> {
    nodes: [usize; 4],
    /// `[hidden, C]`.
    squeeze: Array2<f32>,
    /// `[C, hidden]`.
    excite: Array2<f32>,
    output: &'g str,
}

/// The way from a pool through both layers.
fn scores<'g>(graph: &Matcher<'g>, pool: usize) -> Result<Scores<'g>> {
    let flat = graph.only(graph.output(pool)?, &["Flatten", "Reshape"])?;
    let flattens = match graph.operator(flat) {
        "Flatten" => matches!(graph.node(flat).int("axis", 1), Some(1 | -3)),
        // Two numbers: the second is what the product after it wants, the first can only be that of the images.
        _ => graph.shape(graph.input(flat, 1)?).is_some_and(|shape| shape.len() == 2),
    };
    graph.expect(flat, "shape", flattens)?;
    let linear = ["Gemm", "MatMul"];
    let first = graph.only(graph.output(flat)?, &linear)?;
    let relu = graph.only(graph.output(first)?, &["Relu"])?;
    let second = graph.only(graph.output(relu)?, &linear)?;
    let squeeze = layer(graph, first, graph.output(flat)?)?;
    let excite = layer(graph, second, graph.output(relu)?)?;
    graph.expect(second, "shape", excite.dim() == (squeeze.ncols(), squeeze.nrows()))?;
    Ok(Scores { nodes: [flat, first, relu, second], squeeze, excite, output: graph.output(second)? })
}

/// The weights `[out, in]` of the layer at `node`, which has no bias.
fn layer(graph: &Matcher<'_>, node: usize, input: &str) -> Result<Array2<f32>> {
    let operator = graph.node(node);
    let plain = operator.int("transA", 0) == Some(0) && operator.float("alpha", 1.0) == Some(1.0);
    graph.expect(node, "alpha or transA", plain)?;
    graph.expect(node, "bias", operator.input(2).is_none())?;
    graph.expect(node, "input", graph.input(node, 0)? == input)?;
    let name = graph.input(node, 1)?;
    let stored = graph.floats(name)?.into_dimensionality::<Ix2>();
    let stored = stored.map_err(|_| Mismatch(format!("{name} is of another shape")))?;
    Ok(if operator.int("transB", 0) == Some(1) { stored } else { stored.reversed_axes() })
}
