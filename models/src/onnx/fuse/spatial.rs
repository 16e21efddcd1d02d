//! Spatial attention as it is spelled in files.

use super::matcher::{Matcher, Mismatch, Result};
use super::{Kind, Part, Weights};
use crate::layers::Gate;

/// Candidate subgraphs for spatial attention, each with its match or the reason for rejection.
pub fn candidates(graph: &Matcher<'_>) -> Vec<(usize, Result<Part>)> {
    pairs(graph).into_iter().map(|(mean, max)| (mean, spatial_at(graph, mean, max))).collect()
}

/// Pairs of a mean and a maximum over the channels of the same value.
fn pairs(graph: &Matcher<'_>) -> Vec<(usize, usize)> {
    let reduces = |node, operator| graph.operator(node) == operator && graph.axes(node, 4) == [1];
    let means = (0..graph.graph().nodes.len()).filter(|&node| reduces(node, "ReduceMean"));
    let pair = |mean| Some((mean, graph.beside(mean, |node| reduces(node, "ReduceMax"))?));
    means.filter_map(pair).collect()
}

/// `x * sigmoid(conv([mean(x), max(x)]))`, over the channels.
fn spatial_at(graph: &Matcher<'_>, mean: usize, max: usize) -> Result<Part> {
    let x = graph.common(mean, max)?;
    let (means, maxima) = (graph.output(mean)?, graph.output(max)?);
    for reduction in [mean, max] {
        graph.keeps_dimensions(reduction)?;
    }
    let concat = graph.only(means, &["Concat"])?;
    graph.expect(concat, "axis", matches!(graph.node(concat).int("axis", 0), Some(1 | -3)))?;
    graph.read_only_by(maxima, &[concat])?;
    if graph.node(concat).inputs != [means, maxima] {
        return Err(Mismatch(format!("{} does not join mean and maximum", graph.node(concat).name)));
    }
    let conv = graph.only(graph.output(concat)?, &["Conv"])?;
    let taps = taps(graph, conv)?;
    let gate = graph.only(graph.output(conv)?, &["Sigmoid"])?;
    let scale = graph.only(graph.output(gate)?, &["Mul"])?;
    graph.joins(scale, x, graph.output(gate)?)?;
    Ok(Part {
        kind: Kind::Spatial,
        nodes: vec![mean, max, concat, conv, gate, scale],
        end: scale,
        x: x.into(),
        output: graph.output(scale)?.into(),
        weights: vec![taps],
        gate: Gate::Sigmoid,
    })
}

/// The taps `[1, 2, k, k]` of the convolution at `node`, whose output is as large as its input.
fn taps(graph: &Matcher<'_>, node: usize) -> Result<Weights> {
    let values = graph.floats(graph.input(node, 1)?)?;
    let side = values.shape().last().copied().unwrap_or_default();
    graph.expect(node, "kernel", values.shape() == [1, 2, side, side] && side % 2 == 1)?;
    graph.expect(node, "bias", graph.node(node).input(2).is_none())?;
    graph.keeps_size(node, &[side, side])?;
    Ok(Weights { name: "taps", values })
}
