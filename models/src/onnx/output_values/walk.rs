//! The way from an output back to the operator that decides what its values mean.

use std::cell::Cell;

use super::layout::{self, Layout, resolve};
use super::shapes::Shapes;
use super::{Evidence, OutputValues, Unclear, classic, inline};
use crate::onnx::attribute::Value;
use crate::onnx::element::Element;
use crate::onnx::index::Index;
use crate::onnx::node::Node;

/// Meaning of a value before constants scale and shift it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Logits,
    Probabilities,
    LogProbabilities,
    Scores,
    Class,
    Maps,
    /// Hyperbolic tangents, half of a sigmoid that is written with them.
    Tanh,
}

/// Knowledge about a value: it is `scale * v + shift`, where `v` has the meaning `kind`.
#[derive(Debug, Clone)]
pub struct Found {
    pub kind: Kind,
    pub scale: f64,
    pub shift: f64,
    pub evidence: Evidence,
}

pub type Meaning = Result<Found, Unclear>;

/// A graph that is read backwards.
pub struct Walk<'g> {
    pub index: &'g Index<'g>,
    pub shapes: Shapes<'g>,
    /// Version of the standard operators; the newest where the file has none.
    opset: i64,
    /// Nodes that may still be visited.
    left: Cell<usize>,
}

/// Names of the scale and the zero point of quantised values.
type Quantization<'g> = [Option<&'g str>; 2];

impl Found {
    /// Describes the result of `node`.
    pub fn new(kind: Kind, node: &Node) -> Self {
        let (op, node) = identity(node);
        let evidence = Evidence { op, node, ..Evidence::default() };
        Self { kind, scale: 1.0, shift: 0.0, evidence }
    }

    /// Describes the result of several operators, of which `node` is the last.
    pub fn decomposed(kind: Kind, node: &Node) -> Self {
        let mut found = Self::new(kind, node);
        found.evidence.decomposed = true;
        found
    }

    /// The same, after `node`.
    pub fn then(mut self, node: &Node) -> Self {
        self.evidence.followed_by.push(node.op.to_string());
        self
    }

    /// The same without scale and shift, which must not change the meaning.
    pub fn settled(mut self) -> Meaning {
        const TOLERANCE: f64 = 1e-3;
        let [scale, shift] = [self.scale, self.shift];
        let near = |value: f64, expected: f64| (value - expected).abs() <= TOLERANCE;
        let same = match self.kind {
            Kind::Tanh => {
                self.kind = Kind::Scores;
                self.evidence.decomposed = true;
                near(scale, 0.5) && near(shift, 0.5)
            }
            // A positive scale is a temperature, and a common summand cancels.
            Kind::Logits => scale > 0.0,
            Kind::Probabilities | Kind::Scores | Kind::LogProbabilities => {
                near(scale, 1.0) && near(shift, 0.0)
            }
            Kind::Class | Kind::Maps => scale == 1.0 && shift == 0.0,
        };
        let before = Box::new(self.evidence.clone());
        if same { Ok(self) } else { Err(Unclear::Scaled { scale, shift, before }) }
    }
}

/// Operator and name of a node, or of its first result where it has no name.
pub fn identity(node: &Node) -> (String, String) {
    let name = if node.name.is_empty() { node.output(0).unwrap_or_default() } else { &node.name };
    (node.op.to_string(), name.split('\u{1f}').next().unwrap_or_default().to_owned())
}

impl<'g> Walk<'g> {
    pub fn new(index: &'g Index<'g>, opset: Option<i64>) -> Self {
        let shapes = Shapes::new(index);
        Self { index, shapes, opset: opset.unwrap_or(i64::MAX), left: Cell::new(1 << 14) }
    }

    /// Meaning of the output called `name`.
    pub fn output(&self, name: &str) -> Result<OutputValues, Unclear> {
        let mut outputs = self.index.graph().outputs.iter();
        let output = outputs.find(|output| output.name == *name);
        let value: &'g str = &output.ok_or_else(|| Unclear::NoOutput(name.into()))?.name;
        let layout = self.shapes.of(value).and_then(|shape| Layout::of(&shape));
        let found = self.meaning(value, layout, 0)?.settled()?;
        Ok(match found.kind {
            Kind::Logits => OutputValues::Logits(found.evidence),
            Kind::Probabilities => OutputValues::Probabilities(found.evidence),
            Kind::LogProbabilities => OutputValues::LogProbabilities(found.evidence),
            Kind::Scores | Kind::Tanh => OutputValues::Scores(found.evidence),
            Kind::Class => OutputValues::Class(found.evidence),
            Kind::Maps => OutputValues::Maps(found.evidence),
        })
    }

    /// Meaning of `value`, whose axes have the roles of `layout`.
    pub fn meaning(&self, mut value: &'g str, mut layout: Option<Layout>, depth: usize) -> Meaning {
        /// Sums of products and the like within each other, which are few behind a classifier's softmax.
        const DEEPEST: usize = 48;
        if depth > DEEPEST {
            return Err(Unclear::TooComplex);
        }
        let (mut after, mut quantized) = (Vec::new(), None);
        let mut found = loop {
            let node = self.node(value)?;
            match self.before(node, value, &mut quantized)? {
                Some(operand) => {
                    after.push(node);
                    if moves(node) {
                        layout = layout::before(&self.shapes, node, layout);
                    }
                    value = operand;
                }
                None => break self.decide(node, value, layout, depth + 1)?,
            }
        };
        after.into_iter().rev().for_each(|node| found.evidence.followed_by.push(node.op.to_string()));
        Ok(found)
    }

    /// The node that gives `value`.
    fn node(&self, value: &str) -> Result<&'g Node, Unclear> {
        self.left.set(self.left.get().checked_sub(1).ok_or(Unclear::TooComplex)?);
        let place = self.index.producer(value);
        place.map(|at| self.index.node(at)).ok_or_else(|| Unclear::NotComputed(value.into()))
    }

    /// The operand whose values `node` keeps; none where it computes others.
    fn before(
        &self,
        node: &'g Node,
        value: &str,
        quantized: &mut Option<Quantization<'g>>,
    ) -> Result<Option<&'g str>, Unclear> {
        let parameters = |at: usize| [node.input(at), node.input(at + 1)];
        let refuse = || {
            let (op, node) = identity(node);
            Err(Unclear::Quantized { op, node })
        };
        let op = operator(node);
        let result = match op {
            "QLinearSigmoid" | "QLinearSoftmax" => Some(3),
            "QuantizeLinear" => Some(1),
            _ => None,
        };
        if let Some(at) = result {
            let same = quantized.take().is_some_and(|expected| self.same(expected, parameters(at)));
            return match (same, op) {
                (false, _) => refuse(),
                (true, "QuantizeLinear") => Ok(node.input(0)),
                (true, _) => Ok(None),
            };
        }
        let kept = match op {
            "DequantizeLinear" if quantized.is_none() => {
                *quantized = Some(parameters(1));
                true
            }
            "Identity" | "Dropout" => node.output(0) == Some(value),
            "Cast" | "CastLike" => self.casts_to_float(node),
            "Concat" => node.inputs.len() == 1,
            _ => moves(node),
        };
        Ok(node.input(0).filter(|_| kept))
    }

    /// True if both quantisations have the same scale and zero point.
    fn same(&self, one: Quantization<'g>, other: Quantization<'g>) -> bool {
        let values = |name: Option<&'g str>| name.and_then(|name| self.index.constant(name)?.bytes().ok());
        one.into_iter().zip(other).all(|(one, other)| one == other || values(one) == values(other))
    }

    fn casts_to_float(&self, node: &'g Node) -> bool {
        let element = match (operator(node), node.attribute("to")) {
            ("Cast", Some(Value::Int(code))) => i32::try_from(*code).ok().map(Element::from_code),
            ("CastLike", _) => node.input(1).and_then(|like| self.index.element(like)),
            _ => None,
        };
        element.is_some_and(|element| {
            matches!(element, Element::Float | Element::Float16 | Element::Bfloat16 | Element::Double)
        })
    }

    /// The value that `value` is a copy of, through operators that keep values and shape.
    pub fn root(&self, mut value: &'g str) -> &'g str {
        let mut quantized = None;
        // As many steps as there are nodes: a damaged file may go in circles.
        for _ in 0..=self.index.graph().nodes.len() {
            let Ok(node) = self.node(value) else { return value };
            match self.before(node, value, &mut quantized) {
                Ok(Some(operand)) if !moves(node) => value = operand,
                _ => return value,
            }
        }
        value
    }

    /// Meaning of the result of a node that computes something.
    fn decide(&self, node: &'g Node, value: &'g str, layout: Option<Layout>, depth: usize) -> Meaning {
        if let Some(meaning) = classic::meaning(self, node, value, layout.as_ref(), depth) {
            return meaning;
        }
        if let Some(class) = self.class(node, depth) {
            return Ok(class.then(node));
        }
        let operand = || node.input(0).ok_or_else(|| unknown(node));
        match operator(node) {
            "Softmax" | "QLinearSoftmax" | "BiasSoftmax" => {
                self.check_axis(node, layout.as_ref())?;
                Ok(Found::new(Kind::Probabilities, node))
            }
            "LogSoftmax" => {
                self.check_axis(node, layout.as_ref())?;
                Ok(Found::new(Kind::LogProbabilities, node))
            }
            "Sigmoid" | "HardSigmoid" | "QLinearSigmoid" => Ok(Found::new(Kind::Scores, node)),
            "Tanh" => Ok(Found::new(Kind::Tanh, node)),
            "ArgMax" => Ok(Found::new(Kind::Class, node)),
            #[rustfmt::skip]
            "BatchNormalization" | "Conv" | "ConvInteger" | "ConvTranspose" | "DynamicQuantizeMatMul" | "Einsum"
            | "FusedMatMul" | "Gemm" | "MatMul" | "MatMulInteger" | "MatMulIntegerToFloat" | "MatMulNBits" | "NhwcConv"
            | "QGemm" | "QLinearAdd" | "QLinearAveragePool" | "QLinearConv" | "QLinearGlobalAveragePool"
            | "QLinearMatMul" => Ok(Found::new(Kind::Logits, node)),
            "FusedConv" | "FusedGemm" | "NhwcFusedConv" => match node.text("activation", "") {
                Some("") => Ok(Found::new(Kind::Logits, node)),
                Some("Sigmoid" | "HardSigmoid") => Ok(Found::new(Kind::Scores, node)),
                _ => Err(unknown(node)),
            },
            "AveragePool" | "GlobalAveragePool" | "ReduceMean" => self.average(node, layout, depth),
            "GlobalMaxPool" | "MaxPool" | "ReduceMax" => {
                self.average(node, layout, depth).and_then(|found| match found.kind {
                    Kind::Logits | Kind::Scores => Ok(found),
                    _ => Err(changed(node, found)),
                })
            }
            "GatherElements" | "GatherND" | "Gather" | "Slice" | "Split" => {
                let same_axes = matches!(operator(node), "Slice" | "Split");
                let found = self.meaning(operand()?, layout.filter(|_| same_axes), depth)?.settled()?;
                match found.kind {
                    Kind::Logits | Kind::Scores | Kind::Class => Ok(found.then(node)),
                    _ => Err(changed(node, found)),
                }
            }
            inline::BRANCH => self.agreeing(node, layout, depth, |_| 1.0),
            _ => self.arithmetic(node, layout, depth),
        }
    }

    /// The most likely class that `node` only writes in another way: as another type, or by its name.
    fn class(&self, node: &'g Node, depth: usize) -> Option<Found> {
        let at = match &*node.op {
            "Cast" | "LabelEncoder" => 0,
            "ArrayFeatureExtractor" | "Gather" => 1,
            _ => return None,
        };
        let found = self.meaning(node.input(at)?, None, depth).ok()?;
        (found.kind == Kind::Class).then_some(found)
    }

    /// Checks that a softmax runs over the classes alone.
    fn check_axis(&self, node: &'g Node, layout: Option<&Layout>) -> Result<(), Unclear> {
        let opset = if node.standard().is_empty() { node.int("opset", 13).unwrap_or(13) } else { self.opset };
        // Before opset 13 it flattened all axes from this one on.
        let flattens = opset < 13 || node.op == "BiasSoftmax";
        let axis = node.int("axis", if flattens { 1 } else { -1 });
        let axes = |layout: &Layout| {
            let [axis] = resolve(&[axis?], layout.rank())?.try_into().ok()?;
            Some((axis..if flattens { layout.rank() } else { axis + 1 }).collect::<Vec<_>>())
        };
        self.check(node, layout, |layout| axes(layout).is_some_and(|axes| layout.are_classes(&axes)))
    }

    /// Checks that the axes that `node` reduces are those of the classes.
    pub fn check_reduction(&self, node: &'g Node, layout: Option<&Layout>) -> Result<(), Unclear> {
        let axes = |layout: &Layout| match self.shapes.axes(node) {
            Some(axes) => resolve(&axes, layout.rank()),
            None => Some((0..layout.rank()).collect()),
        };
        self.check(node, layout, |layout| axes(layout).is_some_and(|axes| layout.are_classes(&axes)))
    }

    fn check(
        &self,
        node: &Node,
        layout: Option<&Layout>,
        over_classes: impl Fn(&Layout) -> bool,
    ) -> Result<(), Unclear> {
        let (op, name) = identity(node);
        match layout {
            None => Err(Unclear::Shape { op, node: name }),
            Some(layout) if over_classes(layout) => Ok(()),
            Some(_) => Err(Unclear::Axis { op, node: name }),
        }
    }
}

/// True if the operator only moves values.
fn moves(node: &Node) -> bool {
    matches!(node.standard(), "Expand" | "Flatten" | "Reshape" | "Squeeze" | "Transpose" | "Unsqueeze")
}

/// Name of an operator of the standard domain, of ONNX Runtime's or of [`inline`]; empty for others.
pub fn operator(node: &Node) -> &str {
    match &*node.domain {
        "com.microsoft" | "com.microsoft.nchwc" | "com.ms.internal.nhwc" | inline::INTERNAL => &node.op,
        "ai.onnx.ml" if matches!(&*node.op, "LabelEncoder" | "ArrayFeatureExtractor") => &node.op,
        _ => node.standard(),
    }
}

pub fn unknown(node: &Node) -> Unclear {
    let (op, node) = identity(node);
    Unclear::Operator { op, node }
}

pub fn changed(node: &Node, found: Found) -> Unclear {
    let (op, node) = identity(node);
    Unclear::Changed { op, node, before: Box::new(found.evidence) }
}
