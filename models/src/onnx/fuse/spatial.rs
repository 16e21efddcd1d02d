//! Spatial attention as it is spelled in files.

use super::matcher::{Matcher, Mismatch, Result};
use super::{Kind, Part, Weights};

/// Candidate subgraphs for spatial attention, each with its match or the reason for rejection.
pub fn candidates(graph: &Matcher<'_>) -> Vec<(usize, Result<Part>)> {
    pairs(graph, &[], &[], &[1]).into_iter().map(|(mean, max)| (mean, spatial_at(graph, mean, max))).collect()
}

/// Pairs of a mean and a maximum over the same axes of the same: what else would have both?
///
/// `means` and `maxima` are operators that take them over these axes by themselves.
pub fn pairs(graph: &Matcher<'_>, means: &[&str], maxima: &[&str], axes: &[i64]) -> Vec<(usize, usize)> {
    let reduces = |node, operator| graph.operator(node) == operator && graph.axes(node) == axes;
    let is_mean = |node: usize| means.contains(&graph.operator(node)) || reduces(node, "ReduceMean");
    let is_max = |node: usize| maxima.contains(&graph.operator(node)) || reduces(node, "ReduceMax");
    (0..graph.graph().nodes.len())
        .filter(|&node| is_mean(node))
        .filter_map(|node| {
            let x = graph.input(node, 0).ok()?;
            // Files of half precision take their means in single.
            let readers = [x, graph.before_cast(x)].map(|x| graph.readers(x)).concat();
            readers.into_iter().find(|&reader| is_max(reader)).map(|max| (node, max))
        })
        .collect()
}

/// The value that both take the mean and the maximum of.
pub fn common<'g>(graph: &Matcher<'g>, mean: usize, max: usize) -> Result<&'g str> {
    let x = graph.input(mean, 0)?;
    let same = x == graph.input(max, 0)?;
    same.then_some(x).ok_or_else(|| Mismatch("it is of half precision, and not of 32-bit floats".into()))
}

/// `x * sigmoid(conv([mean(x), max(x)]))`, over the channels.
fn spatial_at(graph: &Matcher<'_>, mean: usize, max: usize) -> Result<Part> {
    let x = common(graph, mean, max)?;
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
    })
}

/// The taps `[1, 2, k, k]` of the convolution at `node`, whose output is as large as its input.
fn taps(graph: &Matcher<'_>, node: usize) -> Result<Weights> {
    let values = graph.floats(graph.input(node, 1)?)?;
    let side = values.shape().last().copied().unwrap_or_default();
    graph.expect(node, "kernel", values.shape() == [1, 2, side, side] && side % 2 == 1)?;
    graph.expect(node, "bias", graph.node(node).input(2).is_none())?;
    let pads = graph.is_ints(node, "pads", &[0; 4], &[side as i64 / 2; 4]) && graph.pads_as_said(node);
    graph.expect(node, "pads", pads)?;
    graph.expect(node, "strides", graph.is_ints(node, "strides", &[1, 1], &[1, 1]))?;
    graph.expect(node, "dilations", graph.is_ints(node, "dilations", &[1, 1], &[1, 1]))?;
    graph.expect(node, "group", graph.is_int(node, "group", 1, 1))?;
    Ok(Weights { name: "taps", values })
}
