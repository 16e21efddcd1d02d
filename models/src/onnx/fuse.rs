//! CBAM in a file, as one operator.
//!
//! A file spells CBAM out in some twenty standard operators, each of which a runtime runs by itself. Where the twenty are
//! exactly [`Cbam`](crate::layers::Cbam), one [`OPERATOR`] takes their place in memory, for a runtime that has a kernel for
//! it; the file stays as it is.
//!
//! Its inputs are `x` `[N, C, H, W]` and the weights `[hidden, C]`, `[C, hidden]` and `[1, 2, k, k]`, its output is of the
//! shape of `x`.

use std::collections::HashMap;

use serde::Serialize;

use super::proto::tensor_proto::DataType;
use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};

/// The domain of the operator that takes the place of CBAM.
pub const DOMAIN: &str = "ferronnx";
/// Its name.
pub const OPERATOR: &str = "Cbam";

/// What became of the places that look like CBAM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fusion {
    /// Names of the operators that took their place.
    pub fused: Vec<String>,
    /// Those that were left alone.
    pub left: Vec<Left>,
}

/// A place that looks like CBAM, and is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The average pool that it begins with.
    pub pool: String,
    /// Why not.
    pub reason: String,
}

/// Replaces every CBAM in the graph of `model`.
pub(super) fn attention(model: &mut ModelProto) -> Fusion {
    let mut fusion = Fusion::default();
    let Some(graph) = model.graph.as_mut() else { return fusion };
    let (mut gone, mut put) = (vec![false; graph.node.len()], Vec::new());
    {
        let index = Index::new(graph);
        for (at, pool) in graph.node.iter().enumerate() {
            // A pool over all pixels, and one for the maxima of the same: what else would have both?
            let twin = |other: &&NodeProto| other.op_type() == "GlobalMaxPool" && other.input == pool.input;
            if pool.op_type() != "GlobalAveragePool" || !graph.node.iter().any(|node| twin(&node)) {
                continue;
            }
            match index.cbam(at) {
                Ok(found) => {
                    found.nodes.iter().for_each(|&node| gone[node] = true);
                    fusion.fused.push(found.node.name().into());
                    put.push((*found.nodes.iter().max().expect("there are nodes"), found.node));
                }
                Err(reason) => fusion.left.push(Left { pool: pool.name().into(), reason }),
            }
        }
    }
    if put.is_empty() {
        return fusion;
    }
    // In the place of the last of them, where all that it reads is known, and nothing that reads it is before.
    let mut nodes = Vec::with_capacity(graph.node.len());
    for (at, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        if let Some((_, fused)) = put.iter().find(|(last, _)| *last == at) {
            nodes.push(fused.clone());
        } else if !gone[at] {
            nodes.push(node);
        }
    }
    graph.node = nodes;
    model.opset_import.push(OperatorSetIdProto { domain: Some(DOMAIN.into()), version: Some(1) });
    fusion
}

struct Found {
    nodes: Vec<usize>,
    node: NodeProto,
}

/// What is known of a graph: who reads what.
struct Index<'a> {
    graph: &'a GraphProto,
    readers: HashMap<&'a str, Vec<usize>>,
    constants: HashMap<&'a str, &'a TensorProto>,
}

/// The nodes of a place, as they are found.
struct Path<'a, 'g> {
    index: &'a Index<'g>,
    nodes: Vec<usize>,
}

/// One way through the MLP.
struct Scores<'a> {
    squeeze: &'a str,
    excite: &'a str,
    output: &'a str,
}

type Result<T> = std::result::Result<T, String>;

impl<'g> Index<'g> {
    fn new(graph: &'g GraphProto) -> Self {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, node) in graph.node.iter().enumerate() {
            node.input.iter().for_each(|name| readers.entry(name).or_default().push(at));
        }
        let constants = graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect();
        Self { graph, readers, constants }
    }

    /// The CBAM that begins with the average pool at `pool`.
    fn cbam(&self, pool: usize) -> Result<Found> {
        let x = self.input(pool, 0)?;
        let mut path = Path { index: self, nodes: vec![pool] };
        let mean = path.scores(pool)?;
        let max_pool = self.reader(x, "GlobalMaxPool")?;
        path.nodes.push(max_pool);
        let max = path.scores(max_pool)?;
        if (mean.squeeze, mean.excite) != (max.squeeze, max.excite) {
            return Err("means and maxima go through different weights".into());
        }
        let add = path.only(mean.output, "Add")?;
        self.joins(add, mean.output, max.output)?;
        self.read_by(max.output, 1)?;
        let gate = path.only(self.output(add)?, "Sigmoid")?;
        let spread = path.only(self.output(gate)?, "Unsqueeze")?;
        self.axes(spread, &[2, 3])?;
        let scale = path.only(self.output(spread)?, "Mul")?;
        self.joins(scale, x, self.output(spread)?)?;

        let y = self.output(scale)?;
        self.read_by(y, 3)?;
        let (mean_over, max_over) = (self.reader(y, "ReduceMean")?, self.reader(y, "ReduceMax")?);
        for reduction in [mean_over, max_over] {
            self.axes(reduction, &[1])?;
            self.int(reduction, "keepdims", 1, 1)?;
            path.nodes.push(reduction);
        }
        let concat = path.only(self.output(mean_over)?, "Concat")?;
        self.int(concat, "axis", 1, 0)?;
        self.read_by(self.output(max_over)?, 1)?;
        if self.graph.node[concat].input != [self.output(mean_over)?, self.output(max_over)?] {
            return Err(format!("{} does not join mean and maximum", self.graph.node[concat].name()));
        }
        let conv = path.only(self.output(concat)?, "Conv")?;
        let kernel = self.kernel(conv)?;
        let sigmoid = path.only(self.output(conv)?, "Sigmoid")?;
        let end = path.only(self.output(sigmoid)?, "Mul")?;
        self.joins(end, y, self.output(sigmoid)?)?;

        let name = self.graph.node[end].name();
        let node = NodeProto {
            name: Some(format!("{}/{OPERATOR}", name.rsplit_once('/').map_or(name, |(scope, _)| scope))),
            domain: Some(DOMAIN.into()),
            op_type: Some(OPERATOR.into()),
            input: [x, mean.squeeze, mean.excite, kernel].map(Into::into).into(),
            output: vec![self.output(end)?.into()],
            ..NodeProto::default()
        };
        Ok(Found { nodes: path.nodes, node })
    }

    fn input(&self, node: usize, at: usize) -> Result<&'g str> {
        let node = &self.graph.node[node];
        node.input.get(at).map(String::as_str).ok_or_else(|| format!("{} lacks an input", node.name()))
    }

    fn output(&self, node: usize) -> Result<&'g str> {
        match &self.graph.node[node].output[..] {
            [output] => Ok(output),
            _ => Err(format!("{} has not one output", self.graph.node[node].name())),
        }
    }

    /// The only reader of `value` with this operator.
    fn reader(&self, value: &str, operator: &str) -> Result<usize> {
        let is = |&&at: &&usize| {
            self.graph.node[at].op_type() == operator && self.graph.node[at].domain().is_empty()
        };
        let mut found = self.readers.get(value).into_iter().flatten().filter(is);
        match (found.next(), found.next()) {
            (Some(&only), None) => Ok(only),
            (None, _) => Err(format!("no {operator} reads {value}")),
            _ => Err(format!("more than one {operator} reads {value}")),
        }
    }

    /// Whether as many operators read `value`, and nobody fetches it.
    fn read_by(&self, value: &str, readers: usize) -> Result<()> {
        let found = self.readers.get(value).map_or(0, Vec::len);
        if self.graph.output.iter().any(|output| output.name() == value) {
            return Err(format!("{value} is an output of the network"));
        }
        (found == readers).then_some(()).ok_or_else(|| format!("{value} is read elsewhere too"))
    }

    /// Whether `node` takes these two, in any order.
    fn joins(&self, node: usize, a: &str, b: &str) -> Result<()> {
        match &self.graph.node[node].input[..] {
            [first, second] if (first == a && second == b) || (first == b && second == a) => Ok(()),
            _ => Err(format!("{} takes others than {a} and {b}", self.graph.node[node].name())),
        }
    }

    fn attribute(&self, node: usize, name: &str) -> Option<&'g AttributeProto> {
        self.graph.node[node].attribute.iter().find(|attribute| attribute.name() == name)
    }

    fn int(&self, node: usize, name: &str, expected: i64, default: i64) -> Result<()> {
        let found = self.attribute(node, name).map_or(default, |attribute| attribute.i());
        self.expect(node, name, found == expected)
    }

    fn ints(&self, node: usize, name: &str, expected: &[i64], default: &[i64]) -> Result<()> {
        let found = self.attribute(node, name).map_or(default, |attribute| &attribute.ints[..]);
        self.expect(node, name, found == expected)
    }

    fn expect(&self, node: usize, what: &str, holds: bool) -> Result<()> {
        holds.then_some(()).ok_or_else(|| format!("{} of {} is another", what, self.graph.node[node].name()))
    }

    /// Axes are an attribute in old opsets, a constant in new ones.
    fn axes(&self, node: usize, expected: &[i64]) -> Result<()> {
        let found: Vec<i64> = match (self.attribute(node, "axes"), self.graph.node[node].input.get(1)) {
            (Some(attribute), _) => attribute.ints.clone(),
            (None, Some(name)) => {
                self.constants.get(name.as_str()).map(|tensor| longs(tensor)).unwrap_or_default()
            }
            (None, None) => Vec::new(),
        };
        self.expect(node, "axes", found == expected)
    }

    /// The weights of the MLP's layer at `node`: `[out, in]`, without bias.
    fn linear(&self, node: usize) -> Result<&'g str> {
        for (name, expected, default) in [("transA", 0, 0), ("transB", 1, 0)] {
            self.int(node, name, expected, default)?;
        }
        let alpha = self.attribute(node, "alpha").map_or(1.0, |attribute| attribute.f());
        self.expect(node, "alpha", alpha == 1.0)?;
        self.expect(node, "bias", self.graph.node[node].input.len() == 2)?;
        self.weights(self.input(node, 1)?, 2)
    }

    /// A constant of floats with so many dimensions.
    fn weights(&self, name: &'g str, dimensions: usize) -> Result<&'g str> {
        let tensor = self.constants.get(name).ok_or_else(|| format!("{name} is no constant"))?;
        if tensor.data_type() != DataType::Float as i32 {
            return Err(format!("{name} is not of 32-bit floats"));
        }
        let fits = tensor.dims.len() == dimensions && tensor.dims.iter().all(|&size| size > 0);
        fits.then_some(name).ok_or_else(|| format!("{name} is of another shape"))
    }

    /// The kernel of the convolution at `node`: `[1, 2, k, k]`, and its output is as large as its input.
    fn kernel(&self, node: usize) -> Result<&'g str> {
        let name = self.weights(self.input(node, 1)?, 4)?;
        let dims = &self.constants[name].dims;
        let side = dims[3];
        self.expect(node, "kernel", dims[..] == [1, 2, side, side] && side % 2 == 1)?;
        self.expect(node, "bias", self.graph.node[node].input.len() == 2)?;
        self.ints(node, "pads", &[side / 2; 4], &[0; 4])?;
        self.ints(node, "strides", &[1, 1], &[1, 1])?;
        self.ints(node, "dilations", &[1, 1], &[1, 1])?;
        self.int(node, "group", 1, 1)?;
        let padding =
            self.attribute(node, "auto_pad").map_or(b"NOTSET".as_slice(), |attribute| attribute.s());
        self.expect(node, "auto_pad", padding == b"NOTSET")?;
        Ok(name)
    }
}

impl<'g> Path<'_, 'g> {
    /// The reader of `value`, which nothing else reads.
    fn only(&mut self, value: &str, operator: &str) -> Result<usize> {
        self.index.read_by(value, 1)?;
        let node = self.index.reader(value, operator)?;
        self.nodes.push(node);
        Ok(node)
    }

    /// From a pool through both layers of the MLP.
    fn scores(&mut self, pool: usize) -> Result<Scores<'g>> {
        let index = self.index;
        let flat = self.only(index.output(pool)?, "Flatten")?;
        index.int(flat, "axis", 1, 1)?;
        let squeeze = self.only(index.output(flat)?, "Gemm")?;
        let relu = self.only(index.output(squeeze)?, "Relu")?;
        let excite = self.only(index.output(relu)?, "Gemm")?;
        let (squeezing, exciting) = (index.linear(squeeze)?, index.linear(excite)?);
        let [there, back] = [squeezing, exciting].map(|name| &index.constants[name].dims);
        index.expect(excite, "shape", there.iter().eq(back.iter().rev()))?;
        Ok(Scores { squeeze: squeezing, excite: exciting, output: index.output(excite)? })
    }
}

fn longs(tensor: &TensorProto) -> Vec<i64> {
    match &tensor.raw_data {
        Some(raw) => {
            raw.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect()
        }
        None => tensor.int64_data.clone(),
    }
}
