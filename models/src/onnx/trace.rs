//! The interpretation itself: operations become nodes.

use std::cell::RefCell;
use std::collections::HashMap;

use indexmap::IndexMap;

use super::Opset;
use super::graph::{Attribute, Dim, Graph, Initializer, Node, ValueInfo};
use crate::layers::{BatchNorm2d, Conv2d, Linear, MaxPool2d, Param};
use crate::ops::{Module, Ops, Reduce};
use crate::shapes::{self, ShapeError};
use crate::weights::Weights;

/// Names and shapes at the border of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name of the input.
    pub input: String,
    /// Shape of one item of the input; the batch dimension comes before it.
    pub item: Vec<usize>,
    /// Name of the output.
    pub output: String,
}

/// Name of the batch dimension.
const BATCH: &str = "batch";

impl Interface {
    /// `input` `[batch, item...]` to `output`.
    pub fn new(item: impl Into<Vec<usize>>) -> Self {
        Self { input: "input".into(), item: item.into(), output: "output".into() }
    }

    /// Names the output.
    pub fn output(self, name: &str) -> Self {
        Self { output: name.into(), ..self }
    }
}

/// Why a module has no graph.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The shapes inside the module do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A parameter has no value.
    #[error("the weights lack {0}")]
    MissingWeight(String),
    /// A parameter's value has another shape than the module says.
    #[error("{name} has shape {found:?}, the network needs {expected:?}")]
    WrongShape {
        /// The parameter.
        name: String,
        /// What the module says.
        expected: Vec<usize>,
        /// What the weights hold.
        found: Vec<usize>,
    },
}

/// Writes `module` with `weights` as a graph over `[batch, item...]`.
pub fn trace(
    module: &impl Module,
    weights: &Weights,
    interface: &Interface,
    opset: Opset,
) -> Result<Graph, TraceError> {
    let example: Vec<usize> = std::iter::once(1).chain(interface.item.iter().copied()).collect();
    let described = shapes::describe(module, &example)?;

    let tracer = Tracer { weights, opset, state: RefCell::default() };
    let result = module.forward(&tracer, &interface.input)?;
    let State { mut nodes, initializers, .. } = tracer.state.into_inner();
    for node in &mut nodes {
        rename(&mut node.output, &result, &interface.output);
        node.inputs.iter_mut().for_each(|input| rename(input, &result, &interface.output));
    }
    let batched = |name: &str, shape: &[usize]| {
        let rest = shape[1..].iter().map(|&size| Dim::Fixed(size));
        ValueInfo {
            name: name.into(),
            shape: std::iter::once(Dim::Symbol(BATCH.into())).chain(rest).collect(),
        }
    };
    Ok(Graph {
        opset,
        inputs: vec![batched(&interface.input, &example)],
        outputs: vec![batched(&interface.output, &described.output)],
        nodes,
        initializers,
    })
}

fn rename(name: &mut String, from: &str, to: &str) {
    if name == from {
        *name = to.into();
    }
}

struct Tracer<'w> {
    weights: &'w Weights,
    opset: Opset,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    scope: String,
    names: HashMap<String, usize>,
    nodes: Vec<Node>,
    initializers: IndexMap<String, Initializer>,
}

/// The name of a value.
type Value = String;

impl Tracer<'_> {
    /// Adds a node named after `path` (dots become slashes) and its operator; returns its result.
    fn node(
        &self,
        path: &str,
        op: &'static str,
        inputs: Vec<Value>,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Value {
        let mut state = self.state.borrow_mut();
        let prefix = if path.is_empty() { String::new() } else { format!("/{}", path.replace('.', "/")) };
        let name = format!("{prefix}/{op}");
        let count = state.names.entry(name.clone()).or_default();
        let name = if *count == 0 { name } else { format!("{name}_{count}") };
        *count += 1;
        let output = format!("{name}_output_0");
        state.nodes.push(Node { name, op, inputs, output: output.clone(), attributes });
        output
    }

    /// A node of an operation without parameters, named after the scope.
    fn scoped(
        &self,
        op: &'static str,
        inputs: Vec<Value>,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Value {
        let scope = self.state.borrow().scope.clone();
        self.node(&scope, op, inputs, attributes)
    }

    /// Makes the values of `params` initializers; a layer applied twice keeps one copy.
    fn parameters(&self, params: Vec<Param>) -> Result<Vec<Value>, TraceError> {
        let register = |Param { name, shape: expected, .. }: Param| {
            let values = self.weights.get(&name).ok_or_else(|| TraceError::MissingWeight(name.clone()))?;
            if values.shape() != expected {
                return Err(TraceError::WrongShape { name, expected, found: values.shape().to_vec() });
            }
            let mut state = self.state.borrow_mut();
            state.initializers.entry(name.clone()).or_insert_with(|| Initializer::Float(values.clone()));
            Ok(name)
        };
        params.into_iter().map(register).collect()
    }

    /// Axes as a constant that all nodes with the same axes share.
    fn axes(&self, axes: &[usize]) -> Value {
        let name = format!("axes{axes:?}").replace(", ", "_").replace(['[', ']'], "_");
        let name = name.trim_end_matches('_').to_owned();
        let mut state = self.state.borrow_mut();
        state.initializers.entry(name.clone()).or_insert_with(|| Initializer::Int64(ints(axes)));
        name
    }
}

fn ints(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| size as i64).collect()
}

/// Attributes that `Conv` and `MaxPool` share.
fn window(kernel: usize, stride: usize, padding: usize) -> Vec<(&'static str, Attribute)> {
    vec![
        ("kernel_shape", Attribute::Ints(ints(&[kernel; 2]))),
        ("pads", Attribute::Ints(ints(&[padding; 4]))),
        ("strides", Attribute::Ints(ints(&[stride; 2]))),
    ]
}

impl Ops for Tracer<'_> {
    type Value = Value;
    type Error = TraceError;

    fn conv2d(&self, x: &Value, layer: &Conv2d) -> Result<Value, TraceError> {
        let mut inputs = vec![x.clone()];
        inputs.extend(self.parameters(layer.params())?);
        Ok(self.node(&layer.name, "Conv", inputs, window(layer.kernel, layer.stride, layer.padding)))
    }

    fn batch_norm(&self, x: &Value, layer: &BatchNorm2d) -> Result<Value, TraceError> {
        let mut inputs = vec![x.clone()];
        inputs.extend(self.parameters(layer.params())?);
        let epsilon = ("epsilon", Attribute::Float(BatchNorm2d::EPS as f32));
        Ok(self.node(&layer.name, "BatchNormalization", inputs, vec![epsilon]))
    }

    fn linear(&self, x: &Value, layer: &Linear) -> Result<Value, TraceError> {
        let mut inputs = vec![x.clone()];
        inputs.extend(self.parameters(layer.params())?);
        Ok(self.node(&layer.name, "Gemm", inputs, vec![("transB", Attribute::Int(1))]))
    }

    fn max_pool2d(&self, x: &Value, layer: &MaxPool2d) -> Result<Value, TraceError> {
        Ok(self.scoped("MaxPool", vec![x.clone()], window(layer.kernel, layer.stride, layer.padding)))
    }

    fn relu(&self, x: &Value) -> Result<Value, TraceError> {
        Ok(self.scoped("Relu", vec![x.clone()], vec![]))
    }

    fn sigmoid(&self, x: &Value) -> Result<Value, TraceError> {
        Ok(self.scoped("Sigmoid", vec![x.clone()], vec![]))
    }

    fn add(&self, a: &Value, b: &Value) -> Result<Value, TraceError> {
        Ok(self.scoped("Add", vec![a.clone(), b.clone()], vec![]))
    }

    fn mul(&self, a: &Value, b: &Value) -> Result<Value, TraceError> {
        Ok(self.scoped("Mul", vec![a.clone(), b.clone()], vec![]))
    }

    /// Over `H, W` as a global pool, which every runtime knows for images; else as a reduction, whose axes are an
    /// attribute up to opset 17 and an input from 18 on.
    fn reduce(&self, x: &Value, how: Reduce, axes: &[usize], keep_dims: bool) -> Result<Value, TraceError> {
        let (pool, reduction) = match how {
            Reduce::Mean => ("GlobalAveragePool", "ReduceMean"),
            Reduce::Max => ("GlobalMaxPool", "ReduceMax"),
        };
        if axes == [2, 3] {
            let pooled = self.scoped(pool, vec![x.clone()], vec![]);
            return Ok(match keep_dims {
                true => pooled,
                false => self.scoped("Flatten", vec![pooled], vec![("axis", Attribute::Int(1))]),
            });
        }
        let keep = ("keepdims", Attribute::Int(keep_dims.into()));
        Ok(if self.opset.version() < 18 {
            self.scoped(reduction, vec![x.clone()], vec![("axes", Attribute::Ints(ints(axes))), keep])
        } else {
            self.scoped(reduction, vec![x.clone(), self.axes(axes)], vec![keep])
        })
    }

    fn concat(&self, xs: &[&Value], axis: usize) -> Result<Value, TraceError> {
        let inputs = xs.iter().map(|&x| x.clone()).collect();
        Ok(self.scoped("Concat", inputs, vec![("axis", Attribute::Int(axis as i64))]))
    }

    fn unsqueeze(&self, x: &Value, axes: &[usize]) -> Result<Value, TraceError> {
        Ok(self.scoped("Unsqueeze", vec![x.clone(), self.axes(axes)], vec![]))
    }

    fn scope<T>(&self, name: &str, body: impl FnOnce() -> Result<T, TraceError>) -> Result<T, TraceError> {
        let outer = std::mem::replace(&mut self.state.borrow_mut().scope, name.into());
        let result = body();
        self.state.borrow_mut().scope = outer;
        result
    }
}
