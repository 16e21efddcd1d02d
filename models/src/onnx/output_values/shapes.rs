//! Shapes of values: those that the file tells, and those that follow from the operators of a classifier's head.

use std::cell::RefCell;
use std::collections::HashMap;

use super::layout::{ones, resolve};
use crate::onnx::index::Index;
use crate::onnx::node::Node;
use crate::onnx::types::Dim;

/// Sizes of the dimensions of a value.
pub type Shape = Vec<Dim>;

/// Operators whose result has the shape of their first operand.
#[rustfmt::skip]
const LIKE_FIRST: [&str; 27] = [
    "Abs", "BatchNormalization", "Cast", "CastLike", "Clip", "DequantizeLinear", "Dropout", "Elu", "Erf", "Exp",
    "Gelu", "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "Neg",
    "QuantizeLinear", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Tanh",
];

/// Shapes of a graph's values, each computed once.
pub struct Shapes<'g> {
    index: &'g Index<'g>,
    told: HashMap<&'g str, Shape>,
    known: RefCell<HashMap<&'g str, Option<Shape>>>,
}

fn unknown() -> Dim {
    Dim::Symbol(String::new())
}

impl<'g> Shapes<'g> {
    pub fn new(index: &'g Index<'g>) -> Self {
        let graph = index.graph();
        let infos = graph.value_info.iter().chain(&graph.inputs).chain(&graph.outputs);
        let told = infos.filter_map(|info| Some((&*info.name, info.kind.as_ref()?.shape()?))).collect();
        Self { index, told, known: RefCell::default() }
    }

    pub fn index(&self) -> &'g Index<'g> {
        self.index
    }

    /// Shape of `value`, if its rank is known.
    pub fn of(&self, value: &'g str) -> Option<Shape> {
        /// Deeper graphs than a head's would need much stack.
        const DEPTH: usize = 128;
        self.within(value, DEPTH)
    }

    fn within(&self, value: &'g str, depth: usize) -> Option<Shape> {
        if let Some(shape) = self.told.get(value) {
            return Some(shape.clone());
        }
        if let Some(constant) = self.index.constant(value) {
            return Some(constant.dims().iter().map(|&size| fixed(size)).collect());
        }
        if let Some(known) = self.known.borrow().get(value) {
            return known.clone();
        }
        let deeper = depth.checked_sub(1)?;
        // A damaged file may go in circles: there nothing is known.
        self.known.borrow_mut().insert(value, None);
        let node = self.index.node(self.index.producer(value)?);
        let shape = if node.output(0) == Some(value) { self.result(node, deeper) } else { None };
        self.known.borrow_mut().insert(value, shape.clone());
        shape
    }

    /// Shape of the first result of `node`.
    fn result(&self, node: &'g Node, depth: usize) -> Option<Shape> {
        let operand = |at: usize| self.within(node.input(at)?, depth);
        match node.standard() {
            op if LIKE_FIRST.contains(&op) => operand(0),
            "Add" | "Div" | "Mul" | "Pow" | "Sub" => broadcast(operand(0)?, operand(1)?),
            "Concat" => {
                let first = operand(0)?;
                let [axis] = resolve(&[node.int("axis", 0)?], first.len())?.try_into().ok()?;
                let all: Option<Vec<Shape>> =
                    node.inputs.iter().map(|name| self.within(name, depth)).collect();
                let sizes: Vec<Dim> =
                    all?.into_iter().filter_map(|shape| shape.into_iter().nth(axis)).collect();
                let whole = sizes.iter().try_fold(0_usize, |sum, dim| match dim {
                    Dim::Fixed(size) => sum.checked_add(*size),
                    Dim::Symbol(_) => None,
                });
                let joined = whole.map_or_else(unknown, Dim::Fixed);
                Some(
                    first
                        .into_iter()
                        .enumerate()
                        .map(|(at, dim)| if at == axis { joined.clone() } else { dim })
                        .collect(),
                )
            }
            "Conv" => {
                let mut shape = vec![unknown(); operand(1)?.len()];
                *shape.get_mut(1)? = operand(1)?.into_iter().next()?;
                Some(shape)
            }
            "Flatten" => Some(flat(operand(0), node.int("axis", 1)?)),
            "Gemm" => {
                let weights = <[Dim; 2]>::try_from(operand(1)?).ok()?;
                let [inputs, outputs] = weights;
                Some(vec![unknown(), if node.int("transB", 0)? == 0 { outputs } else { inputs }])
            }
            "GlobalAveragePool" | "GlobalMaxPool" => {
                let one = |(axis, dim)| if axis < 2 { dim } else { Dim::Fixed(1) };
                Some(operand(0)?.into_iter().enumerate().map(one).collect())
            }
            "AveragePool" | "MaxPool" => {
                let window = |(axis, dim)| if axis < 2 { dim } else { unknown() };
                Some(operand(0)?.into_iter().enumerate().map(window).collect())
            }
            "MatMul" => {
                let ([_, outputs], mut shape) = (<[Dim; 2]>::try_from(operand(1)?).ok()?, operand(0)?);
                *shape.last_mut()? = outputs;
                Some(shape)
            }
            "ReduceMean" | "ReduceMax" | "ReduceSum" => {
                let shape = operand(0)?;
                let axes = resolve(&self.axes(node)?, shape.len())?;
                let kept = node.int("keepdims", 1)? == 1;
                let left = |(axis, dim)| match (axes.contains(&axis), kept) {
                    (false, _) => Some(dim),
                    (true, kept) => kept.then_some(Dim::Fixed(1)),
                };
                Some(shape.into_iter().enumerate().filter_map(left).collect())
            }
            "Reshape" => self.reshaped(node, operand(0)),
            "Squeeze" => {
                let shape = operand(0)?;
                let axes = resolve(&self.axes(node).or_else(|| ones(&shape))?, shape.len())?;
                let kept = shape.into_iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
                Some(kept.map(|(_, dim)| dim).collect())
            }
            "Transpose" => {
                let shape = operand(0)?;
                let reversed: Vec<i64> = (0..shape.len() as i64).rev().collect();
                let perm = node.ints("perm", &reversed)?.iter();
                perm.map(|&axis| shape.get(usize::try_from(axis).ok()?).cloned()).collect()
            }
            "Unsqueeze" => {
                let (mut shape, axes) = (operand(0)?, self.axes(node)?);
                let axes = resolve(&axes, shape.len() + axes.len())?;
                axes.into_iter()
                    .try_for_each(|at| (at <= shape.len()).then(|| shape.insert(at, Dim::Fixed(1))))?;
                Some(shape)
            }
            _ => None,
        }
    }

    /// Shape that a `Reshape` gives; parts of it may be computed when the file runs.
    fn reshaped(&self, node: &'g Node, operand: Option<Shape>) -> Option<Shape> {
        let sizes = node.input(1)?;
        if let Some(sizes) = self.index.longs(sizes) {
            let size = |(axis, size): (usize, i64)| match size {
                0 => operand.as_ref().and_then(|shape| shape.get(axis).cloned()).unwrap_or_else(unknown),
                size => fixed(size),
            };
            return Some(sizes.into_iter().enumerate().map(size).collect());
        }
        let concat = self.index.node(self.index.producer_of(sizes, "Concat")?);
        let part = |part: &'g String| match self.index.longs(part) {
            Some(sizes) => <[i64; 1]>::try_from(sizes).ok().map(|[size]| fixed(size)),
            None => self.index.producer_of(part, "Unsqueeze").map(|_| unknown()),
        };
        concat.inputs.iter().map(part).collect()
    }

    /// Axes of a reduction, a `Squeeze` or an `Unsqueeze`: an attribute in old opsets, a constant in new ones.
    pub fn axes(&self, node: &'g Node) -> Option<Vec<i64>> {
        match (node.ints("axes", &[])?, node.input(1)) {
            ([], Some(axes)) => self.index.longs(axes),
            ([], None) => None,
            (axes, _) => Some(axes.to_vec()),
        }
    }
}

fn fixed(size: i64) -> Dim {
    usize::try_from(size).map_or_else(|_| unknown(), Dim::Fixed)
}

fn flat(shape: Option<Shape>, axis: i64) -> Shape {
    let split = |shape: Shape| {
        let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
        let (before, after) = shape.split_at_checked(axis)?;
        Some(vec![product(before), product(after)])
    };
    shape.and_then(split).unwrap_or_else(|| vec![unknown(); 2])
}

fn product(dims: &[Dim]) -> Dim {
    match dims {
        [one] => one.clone(),
        dims => dims.iter().fold(Dim::Fixed(1), |product, dim| match (product, dim) {
            (Dim::Fixed(a), Dim::Fixed(b)) => a.checked_mul(*b).map_or_else(unknown, Dim::Fixed),
            _ => unknown(),
        }),
    }
}

fn broadcast(a: Shape, b: Shape) -> Option<Shape> {
    let (mut long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let start = long.len() - short.len();
    for (dim, other) in long[start..].iter_mut().zip(short) {
        match (&dim, other) {
            (Dim::Fixed(1), other) => *dim = other,
            (Dim::Symbol(_), Dim::Fixed(size)) if size > 1 => *dim = Dim::Fixed(size),
            _ => {}
        }
    }
    Some(long)
}
