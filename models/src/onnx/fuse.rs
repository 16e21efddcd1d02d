//! Attention in a file, as one operator.
//!
//! A file spells CBAM out in some twenty standard operators, each of which a runtime runs by itself. Where the twenty
//! compute exactly what [`Cbam`](crate::layers::Cbam) does, or one of its two parts, one operator of the domain [`DOMAIN`]
//! takes their place in memory, for a runtime that has a kernel for it; the file stays as it is.
//!
//! | operator | inputs after `x` `[N, C, H, W]` |
//! |---|---|
//! | `ChannelAttention` | `squeeze` `[hidden, P]`, `excite` `[hidden, P]` |
//! | `SpatialAttention` | `taps` `[1, 2, k, k]` |
//! | `Cbam` | `squeeze`, `excite`, `taps` |
//!
//! All are of 32-bit floats, the output is of the shape of `x`. `P` is `C` rounded up to a multiple of [`BLOCK`], with
//! weights of zero; `excite` is the transpose of what a file has, so that both are read along the channels.

mod index;
mod pattern;

use std::collections::HashSet;
use std::fmt;

use prost::bytes::Bytes;
use serde::Serialize;

use super::proto::tensor_proto::DataType;
use super::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use index::{Index, reads};

/// The domain of the operators that take the place of attention.
pub const DOMAIN: &str = "ferronnx";

/// Rows of weights have a multiple of so many values.
pub const BLOCK: usize = 16;

/// Which attention an operator computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// [`ChannelAttention`](crate::layers::ChannelAttention).
    Channel,
    /// [`SpatialAttention`](crate::layers::SpatialAttention).
    Spatial,
    /// [`Cbam`](crate::layers::Cbam): both.
    Cbam,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Spatial, Self::Cbam];

    /// The operator's name.
    pub fn operator(self) -> &'static str {
        match self {
            Self::Channel => "ChannelAttention",
            Self::Spatial => "SpatialAttention",
            Self::Cbam => "Cbam",
        }
    }

    /// How many inputs the operator has.
    pub fn inputs(self) -> usize {
        match self {
            Self::Channel => 3,
            Self::Spatial => 2,
            Self::Cbam => 4,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channel => "channel attention",
            Self::Spatial => "spatial attention",
            Self::Cbam => "CBAM",
        })
    }
}

/// What became of the places that look like attention.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fusion {
    /// The operators that took their place.
    pub fused: Vec<Fused>,
    /// Those that were left alone.
    pub left: Vec<Left>,
}

/// An operator that took the place of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fused {
    /// Its name.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
}

/// A place that looks like attention, and is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The mean that it begins with.
    pub node: String,
    /// What it looks like.
    pub kind: Kind,
    /// Why not.
    pub reason: String,
}

/// Operators that are attention together.
struct Part {
    kind: Kind,
    nodes: Vec<usize>,
    /// The operator whose output is that of all.
    end: usize,
    x: String,
    output: String,
    weights: Vec<Weights>,
}

/// An input of an operator that takes the place of others.
struct Weights {
    name: &'static str,
    dims: Vec<i64>,
    values: Vec<f32>,
}

impl Part {
    /// Whether `spatial` works on the output of this, which nothing else reads.
    fn goes_on_with(&self, index: &Index<'_>, spatial: &Self) -> bool {
        self.output == spatial.x && index.read_only_by(&self.output, &spatial.nodes).is_ok()
    }

    fn join(self, spatial: Self) -> Self {
        Self {
            kind: Kind::Cbam,
            nodes: [self.nodes, spatial.nodes].concat(),
            weights: self.weights.into_iter().chain(spatial.weights).collect(),
            x: self.x,
            ..spatial
        }
    }
}

/// Replaces all attention in the graph of `model`.
pub(super) fn attention(model: &mut ModelProto) -> Fusion {
    let mut fusion = Fusion::default();
    let Some(graph) = model.graph.as_mut() else { return fusion };
    let parts = find(&Index::new(graph), &mut fusion);
    if parts.is_empty() {
        return fusion;
    }
    let gone: HashSet<usize> = parts.iter().flat_map(|part| part.nodes.iter().copied()).collect();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for (at, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        // In the place of the last of them, where all that it reads is known, and nothing that reads it is before.
        if let Some(part) = parts.iter().find(|part| part.end == at) {
            let (fused, tensors) = operator(part, node.name());
            fusion.fused.push(Fused { name: fused.name().into(), kind: part.kind });
            nodes.push(fused);
            graph.initializer.extend(tensors);
        } else if !gone.contains(&at) {
            nodes.push(node);
        }
    }
    graph.node = nodes;
    sweep(graph);
    model.opset_import.push(OperatorSetIdProto { domain: Some(DOMAIN.into()), version: Some(1) });
    fusion
}

fn find(index: &Index<'_>, fusion: &mut Fusion) -> Vec<Part> {
    let mut parts = |kind, found: Vec<(usize, Result<Part, String>)>| -> Vec<Part> {
        let mut parts = Vec::new();
        for (start, result) in found {
            let node = index.node(start).name().into();
            match result {
                Ok(part) => parts.push(part),
                Err(reason) => fusion.left.push(Left { node, kind, reason }),
            }
        }
        parts
    };
    let channel = parts(Kind::Channel, pattern::channel(index));
    let mut spatial = parts(Kind::Spatial, pattern::spatial(index));
    let mut all = Vec::new();
    for part in channel {
        all.push(match spatial.iter().position(|other| part.goes_on_with(index, other)) {
            Some(at) => part.join(spatial.remove(at)),
            None => part,
        });
    }
    all.extend(spatial);
    all
}

/// The operator that takes the place of `part`, and its weights.
fn operator(part: &Part, end: &str) -> (NodeProto, Vec<TensorProto>) {
    let scope = end.rsplit_once('/').map_or(end, |(scope, _)| scope);
    let name = format!("{scope}/{}", part.kind.operator());
    let tensor = |weights: &Weights| TensorProto {
        name: Some(format!("{name}.{}", weights.name)),
        data_type: Some(DataType::Float as i32),
        dims: weights.dims.clone(),
        raw_data: Some(Bytes::from_iter(weights.values.iter().flat_map(|value| value.to_le_bytes()))),
        ..TensorProto::default()
    };
    let tensors: Vec<_> = part.weights.iter().map(tensor).collect();
    let inputs = tensors.iter().map(|tensor| tensor.name().to_owned());
    let node = NodeProto {
        domain: Some(DOMAIN.into()),
        op_type: Some(part.kind.operator().into()),
        input: std::iter::once(part.x.clone()).chain(inputs).collect(),
        output: vec![part.output.clone()],
        name: Some(name.clone()),
        ..NodeProto::default()
    };
    (node, tensors)
}

/// Removes what nothing reads any more: weights, and operators that computed shapes.
fn sweep(graph: &mut GraphProto) {
    let outputs: Vec<String> = graph.output.iter().map(|output| output.name().into()).collect();
    loop {
        let mut read: HashSet<String> = outputs.iter().cloned().collect();
        graph.node.iter().for_each(|node| reads(node, &mut |name| _ = read.insert(name.into())));
        let before = graph.node.len();
        graph.node.retain(|node| node.output.iter().any(|output| read.contains(output)));
        if graph.node.len() == before {
            let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
            graph.initializer.retain(|tensor| read.contains(tensor.name()) || inputs.contains(tensor.name()));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::layers::{Attention, Cbam};
    use crate::onnx::{Interface, Opset, encode, trace};
    use crate::testing;

    /// An operator of another domain may compute anything.
    #[test]
    fn operators_of_other_domains_are_left() {
        let cbam = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 });
        let weights = testing::weights(&cbam, &[1, 16, 4, 4]).unwrap();
        let graph = trace(&cbam, &weights, &Interface::new([16, 4, 4]), Opset::default()).unwrap();
        let file = ModelProto::decode(&encode(graph, &[])[..]).unwrap();
        for (operator, left) in [("ReduceMean", Kind::Channel), ("GlobalAveragePool", Kind::Spatial)] {
            let mut model = file.clone();
            let nodes = &mut model.graph.as_mut().unwrap().node;
            nodes.iter_mut().find(|node| node.op_type() == operator).unwrap().domain = Some("other".into());
            let kinds: Vec<_> = attention(&mut model).fused.iter().map(|fused| fused.kind).collect();
            assert_eq!(kinds, [left], "{operator}");
        }
    }
}
