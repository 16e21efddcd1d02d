//! Pooled values on their way from a pool over `H, W` to the product with the image.

use super::matcher::{Matcher, Mismatch, Result};
use super::shape::Size;
use crate::layers::Gate;

/// Operators that change the shape alone.
const MOVES: [&str; 5] = ["Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// A value of `N` times `C` numbers: `N` is the first dimension, `C` is `axis`, and all others are 1.
#[derive(Debug, Clone)]
pub struct Pooled<'g> {
    /// Name of the value.
    pub value: &'g str,
    /// Nodes that it went through.
    pub nodes: Vec<usize>,
    rank: usize,
    axis: usize,
    /// Values that have `N` and `C` as their first dimensions: the image and the result of the pool.
    images: [&'g str; 2],
}

impl<'g> Pooled<'g> {
    /// The result of the pool at `node`, once it only changed its shape.
    pub fn of(graph: &Matcher<'g>, node: usize) -> Result<Self> {
        let x = graph.input(node, 0)?;
        let keeps = match graph.operator(node) {
            "MaxPool" => covers(graph, node).map(|()| true)?,
            "ReduceMean" | "ReduceMax" => graph.is_int(node, "keepdims", 1, 1),
            _ => true,
        };
        if !keeps {
            graph.expect(node, "keepdims", graph.is_int(node, "keepdims", 1, 0))?;
        }
        let value = graph.output(node)?;
        let rank = if keeps { 4 } else { 2 };
        Self { value, nodes: vec![node], rank, axis: 1, images: [x, value] }.moved(graph)
    }

    /// The value after operators that change its shape alone.
    fn moved(mut self, graph: &Matcher<'g>) -> Result<Self> {
        while let Ok(node) = graph.only(self.value, &MOVES) {
            let shape = self.shape_after(graph, node);
            graph.expect(node, "shape", shape.is_some())?;
            (self.rank, self.axis) = shape.unwrap_or_default();
            self = self.through(graph, node)?;
        }
        Ok(self)
    }

    /// The value after `node`, which keeps its shape.
    pub fn through(mut self, graph: &Matcher<'g>, node: usize) -> Result<Self> {
        graph.expect(node, "input", graph.input(node, 0)? == self.value)?;
        self.value = graph.output(node)?;
        self.nodes.push(node);
        Ok(self)
    }

    /// The sum of both, which the operator at `add` computes.
    pub fn joined(self, other: Self, graph: &Matcher<'g>, add: usize) -> Result<Self> {
        graph.joins(add, self.value, other.value)?;
        graph.read_only_by(other.value, &[add])?;
        graph.expect(add, "shape", (self.rank, self.axis) == (other.rank, other.axis))?;
        let nodes = [&self.nodes[..], &other.nodes, &[add]].concat();
        Ok(Self { value: graph.output(add)?, nodes, ..self })
    }

    /// True if the shape is `[N, C]` or `[N, C, 1, 1]`, by its rank.
    pub fn is_of_rank(&self, rank: usize) -> bool {
        (self.rank, self.axis) == (rank, 1)
    }

    /// True if the shape is `[N, 1, C]`.
    pub fn is_row(&self) -> bool {
        (self.rank, self.axis) == (3, 2)
    }

    /// Rank, and axis of the channels, after the operator at `node`.
    fn shape_after(&self, graph: &Matcher<'g>, node: usize) -> Option<(usize, usize)> {
        let Self { rank, axis, .. } = *self;
        let place = |axis: i64| usize::try_from(axis).ok();
        match graph.operator(node) {
            "Flatten" => {
                let at = graph.node(node).int("axis", 1)?;
                (at == 1 || at + rank as i64 == 1).then_some((2, 1))
            }
            "Transpose" => {
                let order = graph.node(node).ints("perm", &[])?;
                let now = order.iter().position(|&from| place(from) == Some(axis))?;
                (order.len() == rank && order[0] == 0).then_some((rank, now))
            }
            "Squeeze" => {
                let gone = graph.axes(node, rank);
                let ones =
                    gone.iter().all(|&at| place(at).is_some_and(|at| at != 0 && at != axis && at < rank));
                let before = gone.iter().filter(|&&at| at < axis as i64).count();
                (ones && !gone.is_empty()).then_some((rank - gone.len(), axis - before))
            }
            "Unsqueeze" => {
                let new = graph.axes(node, rank + graph.axes(node, rank).len());
                let rank = rank + new.len();
                let mut old = (0..rank as i64).filter(|at| !new.contains(at));
                let inside = new.iter().all(|at| (1..rank as i64).contains(at));
                inside.then_some((rank, place(old.nth(axis)?)?))
            }
            _ => self.reshaped(graph, node),
        }
    }

    /// Rank, and axis of the channels, after the `Reshape` at `node`.
    fn reshaped(&self, graph: &Matcher<'g>, node: usize) -> Option<(usize, usize)> {
        let copies = graph.is_int(node, "allowzero", 0, 0);
        let sizes = graph.shape(graph.node(node).input(1)?)?;
        let first = sizes.first()?;
        let keeps_images = self.is_images(graph, first) || (copies && *first == Size::Constant(0));
        let is_channels = |axis: usize| match sizes[axis] {
            Size::Constant(-1) => keeps_images,
            Size::Constant(0) => copies && axis == self.axis,
            _ => self.is_channels(graph, &sizes[axis]),
        };
        let axis = (1..sizes.len()).find(|&axis| is_channels(axis))?;
        // The first number can only be that of the images then.
        let ones = (1..sizes.len()).all(|at| at == axis || sizes[at] == Size::Constant(1));
        ones.then_some((sizes.len(), axis))
    }

    /// True if a size is the number of images.
    fn is_images(&self, graph: &Matcher<'g>, size: &Size<'g>) -> bool {
        match *size {
            Size::Of(value, 0) => self.is_known(value) || value == graph.origin(self.image()).0,
            Size::Constant(size) => graph.images(self.image()) == Some(size),
            Size::Of(..) => false,
        }
    }

    /// True if a size is the number of channels.
    fn is_channels(&self, graph: &Matcher<'g>, size: &Size<'g>) -> bool {
        match *size {
            Size::Of(value, axis) => axis == 1 && self.is_known(value),
            Size::Constant(size) => graph.channels(self.image()) == Some(size),
        }
    }

    /// True for values that have `N` and `C` as their first dimensions.
    fn is_known(&self, value: &str) -> bool {
        self.images.contains(&value) || (value == self.value && self.axis == 1)
    }

    /// The value that the pool was taken of.
    pub fn image(&self) -> &'g str {
        self.images[0]
    }

    /// The weights of the channels, in the shape in which the product takes them, and the gate that makes them of these
    /// scores.
    pub fn gated(self, graph: &Matcher<'g>) -> Result<(Self, Gate)> {
        let scores = self.moved(graph)?;
        let node = graph.only(scores.value, &["Sigmoid", "HardSigmoid"])?;
        let gate = gate(graph, node)?;
        let weights = scores.through(graph, node)?.moved(graph)?;
        let weights = match graph.only(weights.value, &["Expand"]) {
            Ok(expand) => weights.expanded(graph, expand)?,
            Err(_) => weights,
        };
        Ok((weights, gate))
    }

    /// The value spread over the shape of the image by the operator at `node`, as the product does by itself.
    fn expanded(self, graph: &Matcher<'g>, node: usize) -> Result<Self> {
        let (x, shape) = (self.image(), graph.input(node, 1)?);
        let same = |axis: usize, size: &Size<'g>| match axis {
            0 => self.is_images(graph, size),
            1 => self.is_channels(graph, size),
            _ => match *size {
                Size::Of(value, of) => value == x && of == axis as i64,
                Size::Constant(size) => graph.extent(x).is_some_and(|extent| extent[axis - 2] == size),
            },
        };
        let sizes = || graph.shape(shape).filter(|sizes| sizes.len() == 4);
        let whole = graph.whole_shape(shape) == Some(x)
            || sizes().is_some_and(|sizes| (0..4).all(|axis| same(axis, &sizes[axis])));
        graph.expect(node, "shape", whole)?;
        self.through(graph, node)
    }
}

/// The gate that the operator at `node` is.
fn gate(graph: &Matcher<'_>, node: usize) -> Result<Gate> {
    if graph.operator(node) == "Sigmoid" {
        return Ok(Gate::Sigmoid);
    }
    let slope = graph.node(node).float("alpha", 0.2).map(|alpha| 6.0 * alpha);
    let usual = slope.is_some_and(|slope| (slope - 1.0).abs() < 1e-6);
    graph.expect(node, "alpha or beta", usual && graph.node(node).float("beta", 0.5) == Some(0.5))?;
    Ok(Gate::HardSigmoid)
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
