//! Classifier head of a graph: the last linear layer before the scores, and the features that it reads.
//!
//! A network that ends in a global pool and a linear layer has features `[N, C]`, which describe an image (its embedding).
//! If the pool is a mean over feature maps `A` `[N, C, h, w]`, the logit of class `c` is the mean over positions of
//! `sum_k w[c, k] A_k`, plus the bias. This is the class activation map (Zhou et al. 2016, arXiv:1512.04150).

use ndarray::{Array1, Array2, Ix1, Ix2};

use super::element::Element;
use super::graph::unique;
use super::index::Index;
use super::model::Model;
use super::node::Node;
use super::trace::{BATCH, Interface, TraceError, Values, values};
use super::types::{Dim, ValueInfo};
use crate::lockstep::LockstepError;
use crate::ops::Module;
use crate::shapes::{ShapeError, Shapes};

/// Name of the output with the features.
pub const FEATURES: &str = "features";

/// Name of the output with the feature maps.
pub const FEATURE_MAPS: &str = "feature_maps";

/// Operators that move values or change their type: each value of the result is one of the input.
const MOVES: [&str; 9] = [
    "Cast",
    "DequantizeLinear",
    "Dropout",
    "Flatten",
    "Identity",
    "QuantizeLinear",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
];

/// Operators after the last linear layer, of logits and of what makes them probabilities.
const AFTER: [&str; 8] = ["Add", "Clip", "Div", "LogSoftmax", "Mul", "Sigmoid", "Softmax", "Sub"];

/// Operators between a global pool and the last linear layer, in heads of several layers.
const BETWEEN: [&str; 16] = [
    "Add",
    "BatchNormalization",
    "Clip",
    "Div",
    "Elu",
    "Gelu",
    "Gemm",
    "HardSigmoid",
    "HardSwish",
    "LayerNormalization",
    "LeakyRelu",
    "MatMul",
    "Mul",
    "Relu",
    "Sigmoid",
    "Tanh",
];

/// Last linear layer before the scores of a classifier, and the values that it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Value that the linear layer reads: the features of an image, `[N, C]`.
    pub features: String,
    /// Feature maps `[N, C, h, w]`, if the features are their means over `h, w`.
    pub maps: Option<String>,
    /// Number of features, `C`, as far as the weights tell.
    pub channels: Option<usize>,
    /// Place of the linear layer in the graph.
    linear: usize,
    /// Constant that the result of the linear layer is divided by; none where something else comes after it.
    divisor: Option<f32>,
}

/// Weights of a linear layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// Weights, `[classes, C]`.
    pub weight: Array2<f32>,
    /// Biases, `[classes]`.
    pub bias: Array1<f32>,
}

/// Reason why a graph has no features.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The scores are not the result of a linear layer.
    #[error("the scores do not come from a linear layer: they come from {0}")]
    Linear(String),
    /// The last linear layer reads something else than pooled features.
    #[error("the last linear layer does not read pooled features: they come from {0}")]
    Pool(String),
    /// Something lies between the pool and the linear layer, or it is no mean.
    #[error(
        "the last linear layer does not read the means of feature maps alone, so its class activation maps are not exact"
    )]
    Maps,
    /// The file has no graph that can be read.
    #[error("the graph cannot be read")]
    Unreadable,
    /// The graph has a value of the output's name.
    #[error("the network has a value called `{0}` already, so that no output can have this name")]
    Taken(String),
}

impl Head {
    /// Finds the head that gives the output `scores`.
    ///
    /// # Errors
    /// [`HeadError::Linear`] and [`HeadError::Pool`] when the network ends otherwise.
    pub fn find(model: &Model, scores: &str) -> Result<Self, HeadError> {
        let index = Index::new(&model.graph);
        let (linear, divisor) = last_linear(&index, scores)?;
        let node = index.node(linear);
        let features = node.input(0).unwrap_or_default();
        let maps = pooled(&index, features)?;
        let rows = node.int("transB", 0) == Some(1) && node.is("Gemm");
        let dims = node.input(1).and_then(|weight| dims(&index, weight));
        let channels =
            dims.and_then(|[first, second]| usize::try_from(if rows { second } else { first }).ok());
        let (features, maps) = (features.to_owned(), maps.map(str::to_owned));
        Ok(Self { features, maps, channels, linear, divisor })
    }

    /// Weights of the linear layer, divided as its results are; none where they are not floats in the file, or something
    /// else than a division comes after the layer. `model` is the one in which the head was found.
    pub fn classifier(&self, model: &Model) -> Option<Classifier> {
        let index = Index::new(&model.graph);
        let (node, divisor) = (index.node(self.linear), self.divisor?);
        let is_plain = node.is("Gemm")
            && node.int("transA", 0) == Some(0)
            && node.float("alpha", 1.0) == Some(1.0)
            && node.float("beta", 1.0) == Some(1.0);
        if !is_plain {
            return None;
        }
        let weight = index.array::<f32>(node.input(1)?)?.into_dimensionality::<Ix2>().ok()?;
        let weight = if node.int("transB", 0) == Some(1) { weight } else { weight.reversed_axes() };
        let bias = match node.input(2) {
            Some(name) => index.array::<f32>(name)?.into_dimensionality::<Ix1>().ok()?,
            None => Array1::zeros(weight.nrows()),
        };
        (bias.len() == weight.nrows()).then(|| Classifier { weight: weight / divisor, bias: bias / divisor })
    }
}

/// Place of the last linear layer before `scores`, and the constant that its result is divided by on the way.
fn last_linear(index: &Index<'_>, scores: &str) -> Result<(usize, Option<f32>), HeadError> {
    let (mut value, mut divisor) = (scores, Some(1.0));
    // As many steps as there are nodes: a damaged file may go in circles.
    for _ in 0..index.graph().nodes.len() {
        let Some(at) = index.producer(value) else { break };
        let node = index.node(at);
        match node.standard() {
            "Gemm" | "MatMul" if node.input(0).is_some_and(|x| index.constant(x).is_none()) => {
                return Ok((at, divisor));
            }
            op if MOVES.contains(&op) => value = node.input(0).unwrap_or_default(),
            op if AFTER.contains(&op) => {
                let Some(variable) = only_variable(index, node) else { break };
                let constant = || index.array::<f32>(node.input(1)?).filter(|array| array.len() == 1);
                divisor = match (op, constant().and_then(|array| array.first().copied())) {
                    ("Div", Some(by)) if node.input(0) == Some(variable) => divisor.map(|all| all * by),
                    _ => None,
                };
                value = variable;
            }
            _ => break,
        }
    }
    Err(HeadError::Linear(origin(index, value)))
}

/// The one operand of `node` that is not constant.
fn only_variable<'g>(index: &Index<'g>, node: &'g Node) -> Option<&'g str> {
    let names = node.inputs.iter().map(String::as_str).filter(|name| !name.is_empty());
    let mut variable = names.filter(|name| index.constant(name).is_none());
    variable.next().filter(|_| variable.next().is_none())
}

/// Looks for the global pool that `features` come from; the feature maps, if they are its means and nothing more.
fn pooled<'g>(index: &Index<'g>, features: &'g str) -> Result<Option<&'g str>, HeadError> {
    let (mut value, mut is_direct) = (features, true);
    for _ in 0..index.graph().nodes.len() {
        let Some(at) = index.producer(value) else { break };
        let node = index.node(at);
        let Some(input) = node.input(0) else { break };
        match node.standard() {
            "GlobalAveragePool" => return Ok(Some(input).filter(|_| is_direct)),
            "ReduceMean" => return Ok(Some(input).filter(|_| is_direct && is_over_positions(index, node))),
            "GlobalMaxPool" | "ReduceMax" => return Ok(None),
            op if MOVES.contains(&op) => {}
            op if BETWEEN.contains(&op) => is_direct = false,
            _ => break,
        }
        value = input;
    }
    Err(HeadError::Pool(origin(index, value)))
}

/// True if a reduction of `[N, C, h, w]` is one over `h, w`.
fn is_over_positions(index: &Index<'_>, node: &Node) -> bool {
    let listed = node.input(1).map(|axes| index.longs(axes));
    let mut axes = match listed {
        Some(axes) => axes.unwrap_or_default(),
        None => node.ints("axes", &[]).unwrap_or_default().to_vec(),
    };
    axes.sort_unstable();
    matches!(axes[..], [2, 3] | [-2, -1])
}

/// Dimensions of weights, also where other nodes convert or transpose them.
fn dims<'g>(index: &Index<'g>, mut weight: &'g str) -> Option<[i64; 2]> {
    let mut is_transposed = false;
    for _ in 0..=index.graph().nodes.len() {
        if let Some(constant) = index.constant(weight) {
            let [first, second] = *constant.dims() else { return None };
            return Some(if is_transposed { [second, first] } else { [first, second] });
        }
        let node = index.node(index.producer(weight)?);
        is_transposed ^= node.is("Transpose");
        if !matches!(node.standard(), "Cast" | "DequantizeLinear" | "Transpose") {
            return None;
        }
        weight = node.input(0)?;
    }
    None
}

/// Words for what a value comes from, in messages: ``Conv `/conv/Conv` ``.
fn origin(index: &Index<'_>, value: &str) -> String {
    match index.producer(value).map(|at| index.node(at)) {
        Some(node) if node.name.is_empty() => node.op.to_string(),
        Some(node) => format!("{} `{}`", &*node.op, &*node.name),
        None => format!("`{value}`"),
    }
}

/// Makes the value called `value` a further output of 32-bit floats, `[batch, rest...]`; returns the output's name: `wanted`,
/// or with a number behind it if that is taken.
pub fn add_output(model: &mut Model, value: &str, wanted: &str, rest: &[Option<usize>]) -> String {
    let graph = &mut model.graph;
    let is_float = graph.element_types().get(value) == Some(&Element::Float);
    let mut names = graph.names();
    let name = unique(wanted, &mut names);
    let node = match is_float {
        true => Node::new("Identity", [value], [&*name]),
        false => Node::new("Cast", [value], [&*name]).with("to", i64::from(Element::Float.code())),
    };
    let path = unique(&format!("/{name}/{}", &*node.op), &mut names);
    graph.nodes.push(node.named(path));
    let rest = rest.iter().map(|size| size.map_or(Dim::Symbol(String::new()), Dim::Fixed));
    let shape = std::iter::once(Dim::Symbol(BATCH.into())).chain(rest);
    graph.outputs.push(ValueInfo::tensor(&name, Element::Float, shape));
    name
}

/// Infers the shape of every value of `module` for one item of the batch, by the names of its graph.
///
/// # Errors
/// [`LockstepError`]: the shapes do not fit, or two observed values have one name.
pub fn shapes(
    module: &impl Module,
    interface: &Interface,
) -> Result<Values<Vec<usize>>, LockstepError<TraceError, ShapeError>> {
    let example = std::iter::once(1).chain(interface.item.iter().copied()).collect();
    values(module, interface, &Shapes::default(), example)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Conv2d, Linear};
    use crate::onnx::{Opset, passes, trace};
    use crate::ops::{Ops, Reduce};
    use crate::testing;

    /// Network with a convolution and another head by each field.
    #[derive(Default)]
    struct Network {
        temperature: Option<f32>,
        is_deep: bool,
        is_max: bool,
        is_flat: bool,
    }

    impl Module for Network {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let x = ops.relu(&ops.conv2d(x, &Conv2d::new("conv", 3, 4, 3))?)?;
            if self.is_flat {
                return Ok(x);
            }
            let how = if self.is_max { Reduce::Max } else { Reduce::Mean };
            let mut pooled = ops.reduce(&x, how, &[2, 3], false)?;
            if self.is_deep {
                pooled = ops.relu(&ops.linear(&pooled, &Linear::new("hidden", 4, 5))?)?;
            }
            let fc = Linear::new("fc", if self.is_deep { 5 } else { 4 }, 2);
            let logits = ops.linear(&pooled, &fc)?;
            match self.temperature {
                Some(temperature) => ops.divide(&logits, temperature),
                None => Ok(logits),
            }
        }
    }

    fn interface() -> Interface {
        Interface::new([3, 8, 8]).output("logits")
    }

    fn model(network: &Network) -> Model {
        let weights = testing::weights(network, &[1, 3, 8, 8]).unwrap();
        trace(network, &weights, &interface(), Opset::default()).unwrap()
    }

    #[test]
    fn features_and_maps_are_around_the_pool() {
        let network = Network { temperature: Some(2.0), ..Network::default() };
        let model = model(&network);
        let head = Head::find(&model, "logits").unwrap();
        assert_eq!((&*head.features, head.maps.as_deref()), ("/Flatten_output_0", Some("/Relu_output_0")));
        assert_eq!(head.channels, Some(4));
        let shapes = shapes(&network, &interface()).unwrap();
        assert_eq!(
            (&**shapes[&head.features], &**shapes["/Relu_output_0"]),
            (&[1, 4][..], &[1, 4, 6, 6][..])
        );
        let weights = testing::weights(&network, &[1, 3, 8, 8]).unwrap();
        let Classifier { weight, bias } = head.classifier(&model).unwrap();
        assert_eq!((weight * 2.0).into_dyn(), weights["fc.weight"]);
        assert_eq!((bias * 2.0).into_dyn(), weights["fc.bias"]);
    }

    #[test]
    fn heads_that_do_more_have_features_and_no_maps() {
        let deep = model(&Network { is_deep: true, ..Network::default() });
        let head = Head::find(&deep, "logits").unwrap();
        assert_eq!((&*head.features, &head.maps, head.channels), ("/Relu_1_output_0", &None, Some(5)));
        let max = model(&Network { is_max: true, ..Network::default() });
        assert_eq!(Head::find(&max, "logits").unwrap().maps, None);
        let flat = model(&Network { is_flat: true, ..Network::default() });
        assert_eq!(Head::find(&flat, "logits"), Err(HeadError::Linear("Relu `/Relu`".into())));
        assert_eq!(Head::find(&flat, "nothing"), Err(HeadError::Linear("`nothing`".into())));
    }

    #[test]
    fn the_head_is_found_in_every_precision() {
        let mut half = model(&Network::default());
        passes::half_precision(&mut half).unwrap();
        let mut bytes = model(&Network::default());
        let ranges = passes::quantized_values(&bytes).into_iter().map(|name| (name, (-1.0, 3.0))).collect();
        passes::quantize(&mut bytes, &ranges).unwrap();
        for mut model in [half, bytes] {
            let head = Head::find(&model, "logits").unwrap();
            assert_eq!(head.channels, Some(4));
            let maps = head.maps.unwrap();
            assert_eq!(add_output(&mut model, &maps, "maps", &[head.channels, None, None]), "maps");
            let elements = model.graph.element_types();
            assert_eq!(elements["maps"], Element::Float);
            let output = model.graph.outputs[1].as_tensor().unwrap();
            assert_eq!(output.shape[1..3], [Dim::Fixed(4), Dim::Symbol("".into())]);
            assert_eq!(add_output(&mut model, &head.features, "logits", &[head.channels]), "logits_1");
        }
    }

    #[test]
    fn means_over_other_axes_are_no_maps() {
        let mut model = model(&Network::default());
        let pool = model.graph.nodes.iter_mut().find(|node| node.is("GlobalAveragePool")).unwrap();
        pool.op = "ReduceMean".into();
        for (axes, is_map) in
            [(vec![2_i64, 3], true), (vec![-1, -2], true), (vec![1, 2], false), (vec![], false)]
        {
            let pool = model.graph.nodes.iter_mut().find(|node| node.is("ReduceMean")).unwrap();
            pool.attributes.clear();
            *pool = pool.clone().with("axes", crate::onnx::Value::Ints(axes));
            assert_eq!(Head::find(&model, "logits").unwrap().maps.is_some(), is_map);
        }
    }
}
