//! Half precision: a file of half the size, and twice the speed where a GPU has units for it.

use std::collections::HashMap;

use half::f16;
use indexmap::IndexMap;

use crate::onnx::graph::{Attribute, Element, Graph, Initializer, Node};

/// Operators that stay in single precision: means and products sum up many values, and runtimes differ in what they
/// sum in; `Sigmoid` goes through an exponential. All of them work on little data here, but for the means.
const SENSITIVE: [&str; 4] = ["GlobalAveragePool", "ReduceMean", "Gemm", "Sigmoid"];

/// Operators that only move values: they take them as they come.
const INDIFFERENT: [&str; 4] = ["Concat", "Flatten", "Identity", "Unsqueeze"];

/// A weight that half precision cannot hold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} holds {value}, half precision ends at 65504: export with --precision fp32")]
pub struct HalfError {
    /// The initializer.
    pub name: String,
    /// The value.
    pub value: f32,
}

/// Computes in half precision, but for operators that are numerically sensitive. Inputs and outputs stay float.
///
/// # Errors
/// When a weight is too large.
pub fn half_precision(graph: &mut Graph) -> Result<(), HalfError> {
    let mut pass = Pass {
        weights: std::mem::take(&mut graph.initializers),
        initializers: IndexMap::new(),
        elements: HashMap::new(),
        nodes: Vec::with_capacity(2 * graph.nodes.len()),
    };
    for input in &graph.inputs {
        pass.elements.insert(input.name.clone(), input.element);
    }
    for mut node in std::mem::take(&mut graph.nodes) {
        let element = pass.element(&node);
        for input in &mut node.inputs {
            *input = pass.operand(input, element)?;
        }
        let is_output = graph.outputs.iter().any(|output| output.name == node.output);
        if is_output && element == Element::Float16 {
            let half = typed(&node.output, element);
            let output = std::mem::replace(&mut node.output, half.clone());
            pass.nodes.extend([node, cast(&half, &output, Element::Float)]);
            pass.elements.extend([(half, element), (output, Element::Float)]);
        } else {
            pass.elements.insert(node.output.clone(), element);
            pass.nodes.push(node);
        }
    }
    graph.nodes = pass.nodes;
    graph.initializers = pass.initializers;
    Ok(())
}

struct Pass {
    /// All constants as they were.
    weights: IndexMap<String, Initializer>,
    /// Those that are used, as they are used.
    initializers: IndexMap<String, Initializer>,
    /// Types of the values so far.
    elements: HashMap<String, Element>,
    nodes: Vec<Node>,
}

impl Pass {
    /// What `node` computes in.
    fn element(&self, node: &Node) -> Element {
        let is_float = |name: &String| self.elements.get(name) != Some(&Element::Float16);
        let values = || node.inputs.iter().filter(|name| self.elements.contains_key(*name));
        if SENSITIVE.contains(&node.op) || INDIFFERENT.contains(&node.op) && values().all(is_float) {
            Element::Float
        } else {
            Element::Float16
        }
    }

    /// The name under which an operand has the type `element`.
    fn operand(&mut self, name: &str, element: Element) -> Result<String, HalfError> {
        if let Some(constant) = self.weights.get(name) {
            let converted = match constant {
                Initializer::Float(values) if element == Element::Float16 => {
                    Initializer::Float16(values.mapv(f16::from_f32))
                }
                other => other.clone(),
            };
            return self.constant(name, converted);
        }
        if self.elements.get(name) == Some(&element) {
            return Ok(name.into());
        }
        let converted = typed(name, element);
        if self.elements.insert(converted.clone(), element).is_none() {
            self.nodes.push(cast(name, &converted, element));
        }
        Ok(converted)
    }

    /// Adds a constant; one that is needed in both types has two names.
    fn constant(&mut self, name: &str, converted: Initializer) -> Result<String, HalfError> {
        if let (Some(Initializer::Float(from)), Initializer::Float16(to)) =
            (self.weights.get(name), &converted)
            && let Some((&value, _)) = from.iter().zip(to).find(|(_, half)| !half.is_finite())
        {
            return Err(HalfError { name: name.into(), value });
        }
        let mut unique = name.to_owned();
        if self.initializers.get(name).is_some_and(|known| known.element() != converted.element()) {
            unique = typed(name, converted.element());
        }
        self.initializers.entry(unique.clone()).or_insert(converted);
        Ok(unique)
    }
}

fn typed(name: &str, element: Element) -> String {
    let suffix = if element == Element::Float16 { "float16" } else { "float" };
    format!("{name}_{suffix}")
}

fn cast(from: &str, to: &str, element: Element) -> Node {
    let path = if to.starts_with('/') { to.to_owned() } else { format!("/{to}") };
    Node {
        name: format!("{path}/Cast"),
        op: "Cast",
        inputs: vec![from.into()],
        output: to.into(),
        attributes: vec![("to", Attribute::Int(element.code()))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Attention, Cbam, Linear};
    use crate::onnx::{Interface, Opset, trace};
    use crate::{Module, Ops, Reduce, testing};

    struct Network;

    impl Module for Network {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let x = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 }).forward(ops, x)?;
            let fc = Linear::new("fc", 16, 3);
            ops.linear(&ops.reduce(&x, Reduce::Mean, &[2, 3], false)?, &fc)
        }
    }

    fn graph() -> Graph {
        let weights = testing::weights(&Network, &[1, 16, 4, 4]).unwrap();
        trace(&Network, &weights, &Interface::new([16, 4, 4]).observed(true), Opset::default()).unwrap()
    }

    #[test]
    fn sensitive_operators_have_float_operands_and_no_value_is_cast_twice() {
        let mut graph = graph();
        half_precision(&mut graph).unwrap();
        let elements = graph.elements();
        let mut casts = Vec::new();
        for node in &graph.nodes {
            let operands: Vec<_> = node.inputs.iter().map(|name| elements[name]).collect();
            match node.op {
                "Cast" => casts.push((&node.inputs[0], elements[&node.output])),
                "Unsqueeze" => {}
                _ => {
                    assert!(operands.iter().all(|element| *element == operands[0]), "{node:?}: {operands:?}");
                }
            }
            assert!(!SENSITIVE.contains(&node.op) || operands[0] == Element::Float, "{node:?}");
        }
        assert_eq!(graph.initializers["cbam.spatial_attn.conv.weight"].element(), Element::Float16);
        for (index, cast) in casts.iter().enumerate() {
            assert!(!casts[..index].contains(cast), "{cast:?} twice");
        }
        for output in &graph.outputs {
            assert_eq!(elements[&output.name], Element::Float, "{}", output.name);
        }
    }

    #[test]
    fn what_is_too_large_is_named() {
        let mut graph = graph();
        let Initializer::Float(kernel) = &mut graph.initializers["cbam.spatial_attn.conv.weight"] else {
            panic!("not a float")
        };
        kernel[[0, 1, 0, 0]] = 1e5;
        let error = half_precision(&mut graph).unwrap_err();
        assert_eq!(error.name, "cbam.spatial_attn.conv.weight");
        assert_eq!(error.value, 1e5);
    }
}
