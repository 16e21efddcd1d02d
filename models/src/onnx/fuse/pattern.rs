//! What attention looks like in files: those of our exporter, and of PyTorch's two (`dynamo=False` and `True`).
//!
//! | | ours | PyTorch, TorchScript | PyTorch, dynamo |
//! |---|---|---|---|
//! | means | `GlobalAveragePool` | `GlobalAveragePool` | `ReduceMean` over `[-1, -2]` |
//! | maxima | `GlobalMaxPool` | `MaxPool` as large as the picture | `ReduceMax` over `[-2, -1]` |
//! | to `[N, C]` | `Flatten` | `Reshape` to a shape that is computed | `Reshape` |
//! | MLP | `Gemm` with one pair of weights | `MatMul` with a copy of the weights each | `Gemm` |
//! | to `[N, C, 1, 1]` | `Unsqueeze` | `Reshape` to a shape that is computed | `Reshape` |

use super::index::{Index, Result, Size};
use super::{BLOCK, Kind, Part, Weights};

/// Where channel attention could begin, and whether it is it.
pub fn channel(index: &Index<'_>) -> Vec<(usize, Result<Part>)> {
    const OVER: [i64; 2] = [2, 3];
    candidates(index, &["GlobalAveragePool"], &["GlobalMaxPool", "MaxPool"], &OVER)
        .into_iter()
        .map(|(mean, max)| (mean, channel_at(index, mean, max)))
        .collect()
}

/// Where spatial attention could begin, and whether it is it.
pub fn spatial(index: &Index<'_>) -> Vec<(usize, Result<Part>)> {
    const OVER: [i64; 1] = [1];
    candidates(index, &[], &[], &OVER)
        .into_iter()
        .map(|(mean, max)| (mean, spatial_at(index, mean, max)))
        .collect()
}

/// Pairs of a mean and a maximum over the same axes of the same: what else would have both?
///
/// `means` and `maxima` are operators that take them over these axes by themselves.
fn candidates(index: &Index<'_>, means: &[&str], maxima: &[&str], axes: &[i64]) -> Vec<(usize, usize)> {
    let reduces = |node, operator| index.operator(node) == operator && index.axes(node) == axes;
    let is_mean = |node: usize| means.contains(&index.operator(node)) || reduces(node, "ReduceMean");
    let is_max = |node: usize| maxima.contains(&index.operator(node)) || reduces(node, "ReduceMax");
    (0..index.nodes().len())
        .filter(|&node| is_mean(node))
        .filter_map(|node| {
            let x = index.input(node, 0).ok()?;
            // Files of half precision take their means in single.
            let readers = [x, index.before_cast(x)].map(|x| index.readers(x)).concat();
            readers.into_iter().find(|&reader| is_max(reader)).map(|max| (node, max))
        })
        .collect()
}

/// What both take the mean and the maximum of.
fn common<'g>(index: &Index<'g>, mean: usize, max: usize) -> Result<&'g str> {
    let x = index.input(mean, 0)?;
    let same = x == index.input(max, 0)?;
    same.then_some(x).ok_or_else(|| "it is of half precision, and not of 32-bit floats".into())
}

/// `x * sigmoid(mlp(mean(x)) + mlp(max(x)))`.
fn channel_at(index: &Index<'_>, mean: usize, max: usize) -> Result<Part> {
    let x = common(index, mean, max)?;
    for pool in [mean, max] {
        match index.operator(pool) {
            "MaxPool" => covers(index, pool)?,
            "ReduceMean" | "ReduceMax" => {
                index.expect(pool, "keepdims", index.int(pool, "keepdims", 1) == 1)?;
            }
            _ => {}
        }
    }
    let [of_mean, of_max] = [scores(index, mean)?, scores(index, max)?];
    if (&of_mean.squeeze, &of_mean.excite) != (&of_max.squeeze, &of_max.excite) {
        return Err("means and maxima go through different weights".into());
    }
    let add = index.only(of_mean.output, &["Add"])?;
    index.joins(add, of_mean.output, of_max.output)?;
    index.read_only_by(of_max.output, &[add])?;
    let gate = index.only(index.output(add)?, &["Sigmoid"])?;
    let spread = index.only(index.output(gate)?, &["Unsqueeze", "Reshape"])?;
    let Matrix { rows: hidden, columns: channels, .. } = of_mean.squeeze;
    let spreads = match index.operator(spread) {
        "Unsqueeze" => index.axes(spread) == [2, 3],
        // The first number can only be that of the pictures.
        _ => match index.shape(index.input(spread, 1)?).as_deref() {
            Some([_, size, Size::Constant(1), Size::Constant(1)]) => {
                *size == Size::Constant(channels as i64) || *size == Size::Of(x, 1)
            }
            _ => false,
        },
    };
    index.expect(spread, "shape", spreads)?;
    let scale = index.only(index.output(spread)?, &["Mul"])?;
    index.joins(scale, x, index.output(spread)?)?;

    let padded = channels.next_multiple_of(BLOCK);
    let rows = |name, matrix: &Matrix| Weights {
        name,
        dims: vec![hidden as i64, padded as i64],
        values: matrix
            .values
            .chunks_exact(channels)
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, padded - channels)))
            .collect(),
    };
    Ok(Part {
        kind: Kind::Channel,
        nodes: [&of_mean.nodes[..], &of_max.nodes, &[mean, max, add, gate, spread, scale]].concat(),
        end: scale,
        x: x.into(),
        output: index.output(scale)?.into(),
        weights: vec![rows("squeeze", &of_mean.squeeze), rows("excite", &of_mean.excite.transposed())],
    })
}

/// Whether the pool at `node` takes the whole picture.
fn covers(index: &Index<'_>, node: usize) -> Result<()> {
    let extent = index.extent(index.input(node, 0)?).ok_or_else(|| {
        format!("{} has a fixed window, on a picture of unknown size", index.node(node).name())
    })?;
    let whole = index.ints(node, "kernel_shape", &[]) == extent
        && index.ints(node, "pads", &[0; 4]) == [0; 4]
        && index.ints(node, "dilations", &[1, 1]) == [1, 1]
        && index.pads_as_said(node);
    index.expect(node, "window", whole)
}

/// One way through the MLP.
struct Scores<'g> {
    nodes: [usize; 4],
    squeeze: Matrix,
    excite: Matrix,
    output: &'g str,
}

/// From a pool through both layers.
fn scores<'g>(index: &Index<'g>, pool: usize) -> Result<Scores<'g>> {
    let flat = index.only(index.output(pool)?, &["Flatten", "Reshape"])?;
    let flattens = match index.operator(flat) {
        "Flatten" => matches!(index.int(flat, "axis", 1), 1 | -3),
        // Two numbers: the second is what the product after it wants, the first can only be that of the pictures.
        _ => index.shape(index.input(flat, 1)?).is_some_and(|shape| shape.len() == 2),
    };
    index.expect(flat, "shape", flattens)?;
    let linear = ["Gemm", "MatMul"];
    let first = index.only(index.output(flat)?, &linear)?;
    let relu = index.only(index.output(first)?, &["Relu"])?;
    let second = index.only(index.output(relu)?, &linear)?;
    let squeeze = Matrix::of_layer(index, first, index.output(flat)?)?;
    let excite = Matrix::of_layer(index, second, index.output(relu)?)?;
    index.expect(second, "shape", (excite.rows, excite.columns) == (squeeze.columns, squeeze.rows))?;
    Ok(Scores { nodes: [flat, first, relu, second], squeeze, excite, output: index.output(second)? })
}

/// `[rows, columns]`.
#[derive(PartialEq)]
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// The weights `[out, in]` of the layer at `node`, which has no bias.
    fn of_layer(index: &Index<'_>, node: usize, input: &str) -> Result<Self> {
        let plain = index.int(node, "transA", 0) == 0 && index.float(node, "alpha", 1.0) == 1.0;
        index.expect(node, "alpha or transA", plain)?;
        index.expect(node, "bias", index.node(node).input.len() == 2)?;
        index.expect(node, "input", index.input(node, 0)? == input)?;
        let name = index.input(node, 1)?;
        let (&[rows, columns], values) = index.floats(name)? else {
            return Err(format!("{name} is of another shape"));
        };
        let stored = Self { rows: rows as usize, columns: columns as usize, values };
        Ok(if index.int(node, "transB", 0) == 1 { stored } else { stored.transposed() })
    }

    fn transposed(&self) -> Self {
        let Self { rows, columns, values } = self;
        let column = |at| values.iter().copied().skip(at).step_by(*columns);
        Self { rows: *columns, columns: *rows, values: (0..*columns).flat_map(column).collect() }
    }
}

/// `x * sigmoid(conv([mean(x), max(x)]))`, over the channels.
fn spatial_at(index: &Index<'_>, mean: usize, max: usize) -> Result<Part> {
    let x = common(index, mean, max)?;
    let (means, maxima) = (index.output(mean)?, index.output(max)?);
    for reduction in [mean, max] {
        index.expect(reduction, "keepdims", index.int(reduction, "keepdims", 1) == 1)?;
    }
    let concat = index.only(means, &["Concat"])?;
    index.expect(concat, "axis", matches!(index.int(concat, "axis", 0), 1 | -3))?;
    index.read_only_by(maxima, &[concat])?;
    if index.node(concat).input != [means, maxima] {
        return Err(format!("{} does not join mean and maximum", index.node(concat).name()));
    }
    let conv = index.only(index.output(concat)?, &["Conv"])?;
    let taps = taps(index, conv)?;
    let gate = index.only(index.output(conv)?, &["Sigmoid"])?;
    let scale = index.only(index.output(gate)?, &["Mul"])?;
    index.joins(scale, x, index.output(gate)?)?;
    Ok(Part {
        kind: Kind::Spatial,
        nodes: vec![mean, max, concat, conv, gate, scale],
        end: scale,
        x: x.into(),
        output: index.output(scale)?.into(),
        weights: vec![taps],
    })
}

/// The taps `[1, 2, k, k]` of the convolution at `node`, whose output is as large as its input.
fn taps(index: &Index<'_>, node: usize) -> Result<Weights> {
    let (dims, values) = index.floats(index.input(node, 1)?)?;
    let side = dims.last().copied().unwrap_or_default();
    index.expect(node, "kernel", dims == [1, 2, side, side] && side % 2 == 1)?;
    index.expect(node, "bias", index.node(node).input.len() == 2)?;
    index.expect(
        node,
        "pads",
        index.ints(node, "pads", &[0; 4]) == [side / 2; 4] && index.pads_as_said(node),
    )?;
    index.expect(node, "strides", index.ints(node, "strides", &[1, 1]) == [1, 1])?;
    index.expect(node, "dilations", index.ints(node, "dilations", &[1, 1]) == [1, 1])?;
    index.expect(node, "group", index.int(node, "group", 1) == 1)?;
    Ok(Weights { name: "taps", dims: dims.to_vec(), values })
}
