//! Export of modules: operations become nodes of a graph.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use indexmap::IndexMap;
use ndarray::{arr0, arr1};

use super::Opset;
use super::attribute::Value as Attribute;
use super::element::Element;
use super::model::Model;
use super::node::Node;
use super::passes::eliminate_dead_nodes;
use super::tensor::Tensor;
use super::types::{Dim, ValueInfo};
use crate::layers::{
    AvgPool2d, BatchNorm2d, Conv1d, Conv2d, LayerNorm, LayerScale, Linear, MaxPool2d, Param,
};
use crate::lockstep::{Lockstep, LockstepError};
use crate::ops::{Module, Ops, Reduce};
use crate::shapes::{self, ShapeError};
use crate::weights::Weights;

/// Names and shapes of a graph's input and outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name of the input.
    pub input: String,
    /// Shape of one item of the input; the batch dimension comes before it.
    pub item: Vec<usize>,
    /// Name of the output.
    pub output: String,
    /// Observed values become further outputs, see [`Ops::observe`].
    pub observed: bool,
}

/// Name of the batch dimension.
pub(super) const BATCH: &str = "batch";

impl Interface {
    /// An input `input` `[batch, item...]` and an output `output`.
    pub fn new(item: impl Into<Vec<usize>>) -> Self {
        Self { input: "input".into(), item: item.into(), output: "output".into(), observed: false }
    }

    /// Names the output.
    pub fn output(self, name: &str) -> Self {
        Self { output: name.into(), ..self }
    }

    /// Makes observed values further outputs, or not.
    pub fn observed(self, observed: bool) -> Self {
        Self { observed, ..self }
    }
}

/// A reason why a module has no graph.
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
        /// Shape that the module says.
        expected: Vec<usize>,
        /// Shape that the weights have.
        found: Vec<usize>,
    },
    /// Two values are observed under one name, or one under the name of the input or the output.
    #[error("{0} is observed twice: each observed value needs a name of its own")]
    ObservedTwice(String),
}

/// Exports `module` with `weights` as a model over `[batch, item...]`, without nodes that no output needs.
///
/// # Errors
/// [`TraceError`]: shapes do not fit, weights are missing, or two observed values have one name.
pub fn trace(
    module: &impl Module,
    weights: &Weights,
    interface: &Interface,
    opset: Opset,
) -> Result<Model, TraceError> {
    let example: Vec<usize> = std::iter::once(1).chain(interface.item.iter().copied()).collect();
    let described = shapes::describe(module, &example)?;

    let tracer = Tracer::new(opset, Some(weights));
    let mut result = module.forward(&tracer, &interface.input)?;
    if result == interface.input {
        result = tracer.scoped("Identity", vec![result], vec![]);
    }
    let State { mut nodes, initializers, observed, .. } = tracer.state.into_inner();
    let (names, aliases) = Names::new(interface, result, observed)?;
    for (name, value) in &aliases {
        let path = format!("/{}/Identity", name.replace('.', "/"));
        nodes.push(Node::new("Identity", [value], [name]).named(path));
    }
    for node in &mut nodes {
        node.outputs.iter_mut().chain(&mut node.inputs).for_each(|input| names.rename(input));
    }
    let batched = |name: &str, shape: &[usize]| {
        let rest = shape[1..].iter().map(|&size| Dim::Fixed(size));
        ValueInfo::tensor(name, Element::Float, std::iter::once(Dim::Symbol(BATCH.into())).chain(rest))
    };
    let mut outputs = vec![batched(&interface.output, &described.output)];
    if interface.observed {
        outputs.extend(described.observed.iter().map(|(name, shape)| batched(name, shape)));
    }
    let mut model = Model::new(opset);
    let graph = &mut model.graph;
    (graph.nodes, graph.initializers, graph.outputs) = (nodes, initializers, outputs);
    graph.inputs = vec![batched(&interface.input, &example)];
    // What is computed to be observed alone is dead when nobody observes.
    eliminate_dead_nodes(&mut model);
    Ok(model)
}

/// Values by the names that they have in the graph.
pub type Values<V> = IndexMap<String, Rc<V>>;

/// Computes every value of `module` under `ops`, by the names that the values have in its graph.
///
/// Both interpretations go through the module side by side, so that the names have one definition.
///
/// # Errors
/// [`LockstepError`]: one of the interpretations fails, or two observed values have one name.
pub fn values<O: Ops>(
    module: &impl Module,
    interface: &Interface,
    ops: &O,
    x: O::Value,
) -> Result<Values<O::Value>, LockstepError<TraceError, O::Error>> {
    let tracer = Tracer::new(Opset::default(), None);
    let lockstep = Lockstep::new(&tracer, ops);
    let (result, _) = module.forward(&lockstep, &(interface.input.clone(), Rc::new(x)))?;
    let seen = lockstep.into_seen();
    let names = Names::new(interface, result, tracer.state.into_inner().observed);
    let (names, aliases) = names.map_err(LockstepError::Names)?;
    let renamed = |(mut name, value)| {
        names.rename(&mut name);
        (name, value)
    };
    let mut values: Values<_> = seen.into_iter().map(renamed).collect();
    for (alias, mut value) in aliases {
        names.rename(&mut value);
        if let Some(computed) = values.get(&value).cloned() {
            values.insert(alias, computed);
        }
    }
    Ok(values)
}

/// Names of values that outputs have.
struct Names(HashMap<Value, String>);

/// Observed outputs that alias a named value; each becomes an `Identity` node.
type Aliases = Vec<(String, Value)>;

impl Names {
    fn new(
        interface: &Interface,
        result: Value,
        observed: Vec<(String, Value)>,
    ) -> Result<(Self, Aliases), TraceError> {
        let mut names = HashMap::from([(result, interface.output.clone())]);
        let mut outer: HashSet<String> = [&interface.output, &interface.input].map(String::clone).into();
        let mut aliases = Vec::new();
        for (name, value) in observed.into_iter().filter(|_| interface.observed) {
            if !outer.insert(name.clone()) {
                return Err(TraceError::ObservedTwice(name));
            }
            if value == interface.input || names.contains_key(&value) {
                aliases.push((name, value));
            } else {
                names.insert(value, name);
            }
        }
        Ok((Self(names), aliases))
    }

    fn rename(&self, name: &mut String) {
        if let Some(outer) = self.0.get(name) {
            outer.clone_into(name);
        }
    }
}

struct Tracer<'w> {
    /// Values of the parameters; without them, parameters are only named.
    weights: Option<&'w Weights>,
    opset: Opset,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    scope: String,
    names: HashMap<String, usize>,
    nodes: Vec<Node>,
    initializers: IndexMap<String, Tensor>,
    observed: Vec<(String, Value)>,
}

/// The name of a value.
type Value = String;

impl<'w> Tracer<'w> {
    fn new(opset: Opset, weights: Option<&'w Weights>) -> Self {
        Self { weights, opset, state: RefCell::default() }
    }

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
        let node = Node::new(op, inputs, [output.clone()]).named(name);
        state.nodes.push(attributes.into_iter().fold(node, |node, (name, value)| node.with(name, value)));
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
            let Some(weights) = self.weights else { return Ok(name) };
            let values = weights.get(&name).ok_or_else(|| TraceError::MissingWeight(name.clone()))?;
            if values.shape() != expected {
                return Err(TraceError::WrongShape { name, expected, found: values.shape().to_vec() });
            }
            let mut state = self.state.borrow_mut();
            state.initializers.entry(name.clone()).or_insert_with(|| Tensor::from(values));
            Ok(name)
        };
        params.into_iter().map(register).collect()
    }

    /// A number as a constant that all nodes with the same `purpose` and number share.
    fn number(&self, purpose: &str, value: f32) -> Value {
        let name = format!("{purpose}_{value:e}");
        let constant = || arr0(value).into_dyn().into();
        self.state.borrow_mut().initializers.entry(name.clone()).or_insert_with(constant);
        name
    }

    /// Axes as a constant that all nodes with the same axes share.
    fn axes(&self, axes: &[usize]) -> Value {
        let name = format!("axes{axes:?}").replace(", ", "_").replace(['[', ']'], "_");
        let name = name.trim_end_matches('_').to_owned();
        let mut state = self.state.borrow_mut();
        state.initializers.entry(name.clone()).or_insert_with(|| arr1(&ints(axes)).into_dyn().into());
        name
    }
}

fn ints(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| size as i64).collect()
}

/// Attributes that `Conv` and pools share.
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
        let mut attributes = window(layer.kernel, layer.stride, layer.padding);
        if layer.dilation != 1 {
            attributes.push(("dilations", Attribute::Ints(ints(&[layer.dilation; 2]))));
        }
        if layer.groups != 1 {
            attributes.push(("group", Attribute::Int(layer.groups as i64)));
        }
        Ok(self.node(&layer.name, "Conv", inputs, attributes))
    }

    fn conv1d(&self, x: &Value, layer: &Conv1d) -> Result<Value, TraceError> {
        let mut inputs = vec![x.clone()];
        inputs.extend(self.parameters(layer.params())?);
        let pads = ("pads", Attribute::Ints(ints(&[layer.padding(); 2])));
        let kernel = ("kernel_shape", Attribute::Ints(ints(&[layer.kernel])));
        Ok(self.node(&layer.name, "Conv", inputs, vec![kernel, pads]))
    }

    fn batch_norm(&self, x: &Value, layer: &BatchNorm2d) -> Result<Value, TraceError> {
        let mut inputs = vec![x.clone()];
        inputs.extend(self.parameters(layer.params())?);
        let epsilon = ("epsilon", Attribute::Float(layer.eps as f32));
        Ok(self.node(&layer.name, "BatchNormalization", inputs, vec![epsilon]))
    }

    fn layer_norm(&self, x: &Value, layer: &LayerNorm) -> Result<Value, TraceError> {
        let mut inputs = vec![x.clone()];
        inputs.extend(self.parameters(layer.params())?);
        let attributes = vec![("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(layer.eps as f32))];
        Ok(self.node(&layer.name, "LayerNormalization", inputs, attributes))
    }

    /// The factors keep the shape that they have in checkpoints; runtimes add their dimensions once, when they load.
    fn layer_scale(&self, x: &Value, layer: &LayerScale) -> Result<Value, TraceError> {
        let mut inputs = self.parameters(layer.params())?;
        inputs.push(self.axes(&[1, 2]));
        let factors = self.node(&layer.name, "Unsqueeze", inputs, vec![]);
        Ok(self.node(&layer.name, "Mul", vec![x.clone(), factors], vec![]))
    }

    fn linear(&self, x: &Value, layer: &Linear) -> Result<Value, TraceError> {
        let mut inputs = vec![x.clone()];
        inputs.extend(self.parameters(layer.params())?);
        Ok(self.node(&layer.name, "Gemm", inputs, vec![("transB", Attribute::Int(1))]))
    }

    fn max_pool2d(&self, x: &Value, layer: &MaxPool2d) -> Result<Value, TraceError> {
        Ok(self.scoped("MaxPool", vec![x.clone()], window(layer.kernel, layer.stride, layer.padding)))
    }

    fn avg_pool2d(&self, x: &Value, layer: &AvgPool2d) -> Result<Value, TraceError> {
        let mut attributes = window(layer.kernel, layer.stride, layer.padding);
        attributes.push(("count_include_pad", Attribute::Int(1)));
        Ok(self.scoped("AveragePool", vec![x.clone()], attributes))
    }

    fn relu(&self, x: &Value) -> Result<Value, TraceError> {
        Ok(self.scoped("Relu", vec![x.clone()], vec![]))
    }

    fn sigmoid(&self, x: &Value) -> Result<Value, TraceError> {
        Ok(self.scoped("Sigmoid", vec![x.clone()], vec![]))
    }

    fn hard_sigmoid(&self, x: &Value) -> Result<Value, TraceError> {
        let attributes = vec![("alpha", Attribute::Float(1.0 / 6.0)), ("beta", Attribute::Float(0.5))];
        Ok(self.scoped("HardSigmoid", vec![x.clone()], attributes))
    }

    fn hard_swish(&self, x: &Value) -> Result<Value, TraceError> {
        Ok(self.scoped("HardSwish", vec![x.clone()], vec![]))
    }

    /// In PyTorch's form, which runtimes recognise, in every opset: so values have the same names in all of them.
    fn gelu(&self, x: &Value) -> Result<Value, TraceError> {
        let root = self.number("divisor", std::f32::consts::SQRT_2);
        let erf = self.scoped("Erf", vec![self.scoped("Div", vec![x.clone(), root], vec![])], vec![]);
        let sum = self.scoped("Add", vec![erf, self.number("summand", 1.0)], vec![]);
        let product = self.scoped("Mul", vec![x.clone(), sum], vec![]);
        Ok(self.scoped("Mul", vec![product, self.number("factor", 0.5)], vec![]))
    }

    fn add(&self, a: &Value, b: &Value) -> Result<Value, TraceError> {
        Ok(self.scoped("Add", vec![a.clone(), b.clone()], vec![]))
    }

    fn mul(&self, a: &Value, b: &Value) -> Result<Value, TraceError> {
        Ok(self.scoped("Mul", vec![a.clone(), b.clone()], vec![]))
    }

    fn divide(&self, x: &Value, divisor: f32) -> Result<Value, TraceError> {
        Ok(self.scoped("Div", vec![x.clone(), self.number("divisor", divisor)], vec![]))
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

    fn squeeze(&self, x: &Value, axes: &[usize]) -> Result<Value, TraceError> {
        Ok(self.scoped("Squeeze", vec![x.clone(), self.axes(axes)], vec![]))
    }

    fn permute(&self, x: &Value, axes: &[usize]) -> Result<Value, TraceError> {
        Ok(self.scoped("Transpose", vec![x.clone()], vec![("perm", Attribute::Ints(ints(axes)))]))
    }

    fn dropout(&self, x: &Value, _: f32) -> Result<Value, TraceError> {
        Ok(x.clone())
    }

    fn drop_path(&self, x: &Value, _: f32) -> Result<Value, TraceError> {
        Ok(x.clone())
    }

    fn observe(&self, name: &str, value: &Value) {
        self.state.borrow_mut().observed.push((name.into(), value.clone()));
    }

    fn scope<T>(&self, name: &str, body: impl FnOnce() -> Result<T, TraceError>) -> Result<T, TraceError> {
        let outer = std::mem::replace(&mut self.state.borrow_mut().scope, name.into());
        let result = body();
        self.state.borrow_mut().scope = outer;
        result
    }
}
