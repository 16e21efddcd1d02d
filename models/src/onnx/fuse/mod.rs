//! Fusion of attention into one operator.
//!
//! A file spells CBAM out in some twenty standard operators, SE and ECA in five to seven, each of which a runtime runs by
//! itself. Where they compute exactly what [`Cbam`](crate::layers::Cbam) does, or one of its two parts,
//! [`SqueezeExcitation`](crate::layers::SqueezeExcitation) or
//! [`EfficientChannelAttention`](crate::layers::EfficientChannelAttention), one operator of the domain [`DOMAIN`] takes
//! their place in memory, for a runtime that has a kernel for it; the file stays as it is.
//!
//! | operator | inputs after `x` `[N, C, H, W]` |
//! |---|---|
//! | `ChannelAttention` | `squeeze` `[hidden, P]`, `excite` `[hidden, P]` |
//! | `SpatialAttention` | `taps` `[1, 2, k, k]` |
//! | `Cbam` | `squeeze`, `excite`, `taps` |
//! | `SqueezeExcitation` | `squeeze`, `squeeze_bias` `[hidden]`, `excite`, `excite_bias` `[P]` |
//! | `EfficientChannelAttention` | `taps` `[1, 1, k]` |
//!
//! All are of 32-bit floats, the output is of the shape of `x`. `P` is `C` rounded up to a multiple of the caller's block,
//! with weights of zero, so that a kernel reads whole vectors; `excite` is the transpose of the file's weights, so that
//! both are read along the channels. The attribute [`GATE`] is 1 where the weights of the channels are a hard sigmoid of
//! their scores, as in MobileNetV3, and not a sigmoid.

mod channel;
mod matcher;
mod pooled;
mod shape;
mod spatial;

use std::collections::HashSet;
use std::fmt;

use ndarray::ArrayD;
use serde::Serialize;

use super::graph::unique;
use super::index::Index;
use super::model::{Model, OpsetImport};
use super::node::Node;
use super::passes::eliminate_dead_nodes;
use super::tensor::Tensor;
use crate::layers::Gate;
use matcher::{Matcher, Mismatch};
use pooled::Pooled;

/// Domain of the operators that take the place of attention.
pub const DOMAIN: &str = "ferronnx";

/// Attribute of the operators: 1 if their gate is a hard sigmoid.
pub const GATE: &str = "hard_sigmoid";

/// Kinds of attention that an operator computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// [`ChannelAttention`](crate::layers::ChannelAttention).
    Channel,
    /// [`SpatialAttention`](crate::layers::SpatialAttention).
    Spatial,
    /// [`Cbam`](crate::layers::Cbam): both.
    Cbam,
    /// [`SqueezeExcitation`](crate::layers::SqueezeExcitation).
    Se,
    /// [`EfficientChannelAttention`](crate::layers::EfficientChannelAttention).
    Eca,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Channel, Self::Spatial, Self::Cbam, Self::Se, Self::Eca];

    /// Name of the operator.
    pub fn operator(self) -> &'static str {
        match self {
            Self::Channel => "ChannelAttention",
            Self::Spatial => "SpatialAttention",
            Self::Cbam => "Cbam",
            Self::Se => "SqueezeExcitation",
            Self::Eca => "EfficientChannelAttention",
        }
    }

    /// Number of inputs of the operator.
    pub fn inputs(self) -> usize {
        match self {
            Self::Spatial | Self::Eca => 2,
            Self::Channel => 3,
            Self::Cbam => 4,
            Self::Se => 5,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channel => "channel attention",
            Self::Spatial => "spatial attention",
            Self::Cbam => "CBAM",
            Self::Se => "squeeze-and-excitation",
            Self::Eca => "efficient channel attention",
        })
    }
}

/// Result of fusion: attention that was replaced or kept, and candidates that were rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fusion {
    /// Operators that took the place of others.
    pub fused: Vec<Recognised>,
    /// Candidates that are not attention, or not plainly.
    #[serde(rename = "left")]
    pub rejected: Vec<Rejected>,
    /// Attention of kinds that were not to be replaced, by the names of the last nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Recognised>,
}

/// Attention that was recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recognised {
    /// Name of the node.
    pub name: String,
    /// Kind of attention that it computes.
    pub kind: Kind,
}

/// A candidate for attention that was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Name of the mean that it begins with.
    pub node: String,
    /// Kind of attention that it resembles.
    pub kind: Kind,
    /// Reason for the rejection.
    pub reason: String,
}

/// Operators that make up attention together.
struct Part {
    kind: Kind,
    nodes: Vec<usize>,
    /// Place of the operator whose output is that of all.
    end: usize,
    x: String,
    output: String,
    weights: Vec<Weights>,
    /// Function from the scores of channels to their weights.
    gate: Gate,
}

/// A constant input of an operator that takes the place of others.
struct Weights {
    name: &'static str,
    values: ArrayD<f32>,
}

impl Part {
    /// Attention over channels, from the pool to the product of the image with the gated scores.
    fn of_scores(
        graph: &Matcher<'_>,
        kind: Kind,
        scores: Pooled<'_>,
        weights: Vec<Weights>,
    ) -> Result<Self, Mismatch> {
        let (x, (factors, gate)) = (scores.image(), scores.gated(graph)?);
        let end = graph.only(factors.value, &["Mul"])?;
        graph.joins(end, x, factors.value)?;
        graph.expect(end, "shape", factors.is_of_rank(4))?;
        let nodes = [&factors.nodes[..], &[end]].concat();
        Ok(Self { kind, nodes, end, x: x.into(), output: graph.output(end)?.into(), weights, gate })
    }

    /// True if only the spatial attention `spatial` reads the output of this channel attention.
    fn goes_on_with(&self, graph: &Matcher<'_>, spatial: &Self) -> bool {
        self.kind == Kind::Channel
            && self.output == spatial.x
            && graph.read_only_by(&self.output, &spatial.nodes).is_ok()
    }

    fn join(self, spatial: Self) -> Self {
        Self {
            kind: Kind::Cbam,
            nodes: [self.nodes, spatial.nodes].concat(),
            weights: self.weights.into_iter().chain(spatial.weights).collect(),
            x: self.x,
            gate: self.gate,
            ..spatial
        }
    }
}

/// Replaces attention of these kinds in the graph of `model`; rows of weights along the channels have a multiple of `block`
/// values.
pub fn attention(model: &mut Model, kinds: &[Kind], block: usize) -> Fusion {
    let mut fusion = Fusion::default();
    let mut found = false;
    model.edit(|model| {
        let graph = &mut model.graph;
        let all = find(&Matcher { index: Index::new(graph), block }, &mut fusion);
        let (parts, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|part| kinds.contains(&part.kind));
        let name = |part: &Part| graph.nodes[part.end].name.to_string();
        fusion.kept = kept.iter().map(|part| Recognised { name: name(part), kind: part.kind }).collect();
        found = !parts.is_empty();
        let gone: HashSet<usize> = parts.iter().flat_map(|part| part.nodes.iter().copied()).collect();
        let mut names = graph.names();
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for (at, node) in std::mem::take(&mut graph.nodes).into_iter().enumerate() {
            // Insert at the last fused node, which keeps topological order.
            if let Some(part) = parts.iter().find(|part| part.end == at) {
                let (fused, tensors) = operator(part, &node.name, &mut names);
                fusion.fused.push(Recognised { name: fused.name.to_string(), kind: part.kind });
                nodes.push(fused);
                graph.initializers.extend(tensors);
            } else if !gone.contains(&at) {
                nodes.push(node);
            }
        }
        graph.nodes = nodes;
    });
    if found {
        eliminate_dead_nodes(model);
        model.opsets.push(OpsetImport { domain: DOMAIN.into(), version: Some(1) });
    }
    fusion
}

/// Finds attention; candidates that are none are noted in `fusion`.
fn find(graph: &Matcher<'_>, fusion: &mut Fusion) -> Vec<Part> {
    let mut parts = |kind, found: Vec<(usize, Result<Part, Mismatch>)>| -> Vec<Part> {
        let mut parts = Vec::new();
        for (start, result) in found {
            let node = graph.node(start).name.to_string();
            match result {
                Ok(part) => parts.push(part),
                Err(Mismatch(reason)) => fusion.rejected.push(Rejected { node, kind, reason }),
            }
        }
        parts
    };
    let channel = parts(Kind::Channel, channel::cbam_candidates(graph));
    let mut all = parts(Kind::Se, channel::candidates(graph));
    let mut spatial = parts(Kind::Spatial, spatial::candidates(graph));
    for part in channel {
        all.push(match spatial.iter().position(|other| part.goes_on_with(graph, other)) {
            Some(at) => part.join(spatial.remove(at)),
            None => part,
        });
    }
    all.extend(spatial);
    all
}

/// The operator that takes the place of `part`, and its weights.
fn operator(part: &Part, end: &str, names: &mut HashSet<String>) -> (Node, Vec<(String, Tensor)>) {
    let scope = end.rsplit_once('/').map_or(end, |(scope, _)| scope);
    let name = unique(&format!("{scope}/{}", part.kind.operator()), names);
    let tensor = |weights: &Weights| {
        (unique(&format!("{name}.{}", weights.name), names), Tensor::from(&weights.values))
    };
    let tensors: Vec<_> = part.weights.iter().map(tensor).collect();
    let inputs = [&part.x].into_iter().chain(tensors.iter().map(|(name, _)| name));
    let node = Node::new(part.kind.operator(), inputs, [&part.output]).named(name.clone());
    let node = if part.gate == Gate::HardSigmoid { node.with(GATE, 1) } else { node };
    (Node { domain: DOMAIN.into(), ..node }, tensors)
}

#[cfg(test)]
mod tests;
