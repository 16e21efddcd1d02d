//! Sums, products and averages of values whose meaning is known.

use super::Unclear;
use super::layout::Layout;
use super::walk::{Found, Kind, Meaning, Walk, changed, operator, unknown};
use crate::onnx::element::Element;
use crate::onnx::node::Node;
use crate::onnx::tensor::Tensor;

impl<'g> Walk<'g> {
    /// Meaning of the result of an elementwise operator, or of several that compute a softmax or sigmoid.
    pub fn arithmetic(&self, node: &'g Node, layout: Option<Layout>, depth: usize) -> Meaning {
        if let Some(parts) = self.parts(node, layout.as_ref(), depth) {
            return parts;
        }
        match operator(node) {
            "Add" | "Div" | "Mul" | "Sub" => self.scaled(node, layout, depth),
            "Clip" | "Max" | "Min" => self.clipped(node, layout, depth),
            "Mean" => self.agreeing(node, layout, depth, |count| 1.0 / count as f64),
            "Sum" => self.agreeing(node, layout, depth, |_| 1.0),
            "Concat" => self.joined(node, depth),
            _ => Err(unknown(node)),
        }
    }

    /// Meaning of values of several classes that are put side by side.
    fn joined(&self, node: &'g Node, depth: usize) -> Meaning {
        let one = |name: &'g String| self.meaning(name, None, depth).and_then(Found::settled);
        let all: Vec<Found> = node.inputs.iter().map(one).collect::<Result<_, _>>()?;
        let first = all.first().cloned().ok_or_else(|| unknown(node))?;
        match first.kind {
            Kind::Logits | Kind::Scores if all.iter().all(|found| found.kind == first.kind) => {
                Ok(first.then(node))
            }
            _ => Err(changed(node, first)),
        }
    }

    /// Meaning of `x + c`, `x - c`, `c * x` or `x / c`, or of a sum of two values.
    fn scaled(&self, node: &'g Node, layout: Option<Layout>, depth: usize) -> Meaning {
        let [a, b] = self.operands(node)?;
        let (value, constant, swapped) = match (self.constant(a), self.constant(b)) {
            (None, Some(constant)) => (a, constant, false),
            (Some(constant), None) => (b, constant, true),
            (None, None) if operator(node) == "Add" => return self.agreeing(node, layout, depth, |_| 1.0),
            (None, None) if operator(node) == "Mul" => return self.dequantized(node, [a, b], layout, depth),
            _ => return Err(unknown(node)),
        };
        let found = self.meaning(value, layout, depth)?;
        let Some(constant) = uniform(&constant) else {
            // One constant a class: a bias or a scale of logits.
            return if found.kind == Kind::Logits { Ok(found.then(node)) } else { Err(changed(node, found)) };
        };
        let [scale, shift] = [found.scale, found.shift];
        let (scale, shift) = match (operator(node), swapped) {
            ("Add", _) => (scale, shift + constant),
            ("Sub", false) => (scale, shift - constant),
            ("Sub", true) => (-scale, constant - shift),
            ("Mul", _) => (scale * constant, shift * constant),
            ("Div", false) => (scale / constant, shift / constant),
            _ => return Err(changed(node, found)),
        };
        Ok(Found { scale, shift, ..found }.then(node))
    }

    /// Meaning of integers that are multiplied by a scale which depends on the input, as dynamic quantisation does.
    fn dequantized(
        &self,
        node: &'g Node,
        operands: [&'g str; 2],
        layout: Option<Layout>,
        depth: usize,
    ) -> Meaning {
        let is_integer = |found: &Found| matches!(&*found.evidence.op, "MatMulInteger" | "ConvInteger");
        let mut found =
            operands.into_iter().filter_map(|name| self.meaning(name, layout.clone(), depth).ok());
        found.find(is_integer).map(|found| found.then(node)).ok_or_else(|| unknown(node))
    }

    /// Meaning of values that are kept between bounds.
    fn clipped(&self, node: &'g Node, layout: Option<Layout>, depth: usize) -> Meaning {
        let bound = |name: &str, at: usize| match node.float(name, f32::NAN) {
            Some(bound) if !bound.is_nan() => Some(f64::from(bound)),
            _ => node.input(at).map(|bound| self.number(bound).unwrap_or(f64::NAN)),
        };
        let (value, low, high) = match operator(node) {
            "Clip" => (node.input(0).ok_or_else(|| unknown(node))?, bound("min", 1), bound("max", 2)),
            op => {
                let [a, b] = self.operands(node)?;
                let (value, bound) = match (self.number(a), self.number(b)) {
                    (None, Some(bound)) => (a, bound),
                    (Some(bound), None) => (b, bound),
                    _ => return Err(unknown(node)),
                };
                if op == "Max" { (value, Some(bound), None) } else { (value, None, Some(bound)) }
            }
        };
        let found = self.meaning(value, layout, depth)?;
        // A bound that is not known is no number, and fails here.
        let (lowest, highest) = match found.kind {
            Kind::Probabilities | Kind::Scores => (1e-3, 1.0 - 1e-3),
            Kind::Logits | Kind::LogProbabilities => (-15.0, 15.0),
            _ => return Err(changed(node, found)),
        };
        let kept = low.is_none_or(|low| low <= lowest) && high.is_none_or(|high| high >= highest);
        if kept { Ok(found.settled()?.then(node)) } else { Err(changed(node, found)) }
    }

    /// Meaning of several values with the same meaning, each multiplied by `weight(count)` and summed.
    pub fn agreeing(
        &self,
        node: &'g Node,
        layout: Option<Layout>,
        depth: usize,
        weight: impl Fn(usize) -> f64,
    ) -> Meaning {
        let one = |name: &'g String| self.meaning(name, layout.clone(), depth);
        let all: Vec<Found> = node.inputs.iter().map(one).collect::<Result<_, _>>()?;
        let mut rest = all.iter();
        let first = rest.next().ok_or_else(|| unknown(node))?;
        if rest.any(|found| found.kind != first.kind) {
            return Err(unknown(node));
        }
        let weight =
            if node.op == super::inline::BRANCH { 1.0 / all.len() as f64 } else { weight(all.len()) };
        let total = |part: fn(&Found) -> f64| weight * all.iter().map(part).sum::<f64>();
        let (scale, shift) = (total(|found| found.scale), total(|found| found.shift));
        match first.kind {
            // Averages of logarithms are no logarithms of averages.
            Kind::LogProbabilities | Kind::Tanh if operator(node) != super::inline::BRANCH => {
                Err(changed(node, first.clone()))
            }
            _ => Ok(Found { scale, shift, ..first.clone() }.then(node)),
        }
    }

    /// Meaning of an average over positions, or of a maximum.
    pub fn average(&self, node: &'g Node, layout: Option<Layout>, depth: usize) -> Meaning {
        let axes = match (operator(node), &layout) {
            ("ReduceMean" | "ReduceMax", _) => self.shapes.axes(node),
            (_, Some(layout)) => Some((2..layout.rank() as i64).collect()),
            _ => None,
        };
        let kept = !node.op.starts_with("Reduce") || node.int("keepdims", 1) == Some(1);
        let before = layout.as_ref().and_then(|layout| layout.before_average(&axes?, kept));
        let operand = node.input(0).ok_or_else(|| unknown(node))?;
        match self.meaning(operand, before, depth) {
            Ok(found) if matches!(found.kind, Kind::Probabilities | Kind::Scores) => Ok(found.then(node)),
            Ok(found) if found.kind != Kind::Logits => Err(changed(node, found)),
            Err(unclear @ (Unclear::Axis { .. } | Unclear::Shape { .. } | Unclear::TooComplex)) => {
                Err(unclear)
            }
            // Averages of features, whatever these are.
            _ => Ok(Found::new(Kind::Logits, node)),
        }
    }

    pub fn operands(&self, node: &'g Node) -> Result<[&'g str; 2], Unclear> {
        node.input(0).zip(node.input(1)).map(Into::into).ok_or_else(|| unknown(node))
    }

    /// The constant behind `value`, also in another precision.
    pub fn constant(&self, value: &'g str) -> Option<Tensor> {
        self.index.constant(self.root(value)).cloned()
    }

    /// The only number that the constant `value` holds.
    pub fn number(&self, value: &'g str) -> Option<f64> {
        uniform(&self.constant(value)?)
    }

    pub fn is_number(&self, value: Option<&'g str>, expected: f64) -> bool {
        value.and_then(|value| self.number(value)) == Some(expected)
    }
}

/// The number that all elements of a tensor are.
fn uniform(tensor: &Tensor) -> Option<f64> {
    /// More elements are weights.
    const LARGEST: usize = 1 << 16;
    if tensor.len() > LARGEST {
        return None;
    }
    let values: Vec<f64> = match tensor.element() {
        Element::Float => tensor.to_vec::<f32>().ok()?.into_iter().map(f64::from).collect(),
        Element::Float16 => tensor.to_vec::<half::f16>().ok()?.into_iter().map(f64::from).collect(),
        Element::Double => tensor.to_vec().ok()?,
        _ => return None,
    };
    let (first, rest) = values.split_first()?;
    rest.iter().all(|value| value == first).then_some(*first)
}

#[cfg(test)]
mod tests {
    use crate::onnx::output_values::{OutputValues, output_values};
    use crate::onnx::{Dim, Element, Model, Node, Tensor, ValueInfo};

    /// Last layer as ONNX Runtime's `quantize_dynamic` writes it, with a softmax if `activated`.
    fn dynamically_quantized(activated: bool) -> Model {
        let mut model = Model::default();
        let shape = |classes| [Dim::Symbol("batch".into()), Dim::Fixed(classes)];
        let graph = &mut model.graph;
        graph.inputs.push(ValueInfo::tensor("x", Element::Float, shape(4)));
        graph.outputs.push(ValueInfo::tensor("y", Element::Float, shape(3)));
        let weights = Tensor::from_raw(Element::Int8, [4, 3], vec![1; 12]);
        graph.initializers.insert("w".into(), weights);
        let node =
            |op: &str, inputs: &[&str], outputs: &[&str]| Node::new(op, inputs.to_vec(), outputs.to_vec());
        graph.nodes = vec![
            node("DynamicQuantizeLinear", &["x"], &["q", "scale", "zero"]),
            node("MatMulInteger", &["q", "w", "zero"], &["i"]),
            node("Cast", &["i"], &["f"]).with("to", 1),
            node("Mul", &["f", "scale"], &["logits"]),
        ];
        let end = if activated { "Softmax" } else { "Identity" };
        graph.nodes.push(node(end, &["logits"], &["y"]));
        model
    }

    #[test]
    fn dynamic_quantisation_ends_in_a_scale_that_is_computed() {
        let found = output_values(&dynamically_quantized(false), "y");
        assert!(matches!(&found, OutputValues::Logits(by) if by.op == "MatMulInteger"), "{found:?}");
        let found = output_values(&dynamically_quantized(true), "y");
        assert!(matches!(found, OutputValues::Probabilities(_)), "{found:?}");
    }
}
