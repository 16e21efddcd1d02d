//! Meaning of a classifier's output: logits, probabilities or independent scores.
//!
//! [`output_values`] reads the graph backwards from an output. It looks through operators that keep values (`Cast`,
//! `Reshape`, pairs of `QuantizeLinear` and `DequantizeLinear`, functions) and recognises a softmax or sigmoid also where
//! it is written as several operators. [`values_suggest`] judges by the values alone, for files that cannot be parsed.

mod arithmetic;
mod classic;
mod inline;
mod layout;
mod parts;
mod rows;
mod shapes;
mod walk;

use std::fmt;

use super::index::Index;
use super::model::Model;

pub use classic::class_labels;
pub use rows::{Suggestion, values_suggest};

/// Meaning of the values of an output.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum OutputValues {
    /// Unnormalised scores of the classes: no softmax or sigmoid follows in the file.
    Logits(Evidence),
    /// Probabilities of exclusive classes: not negative, and their sum over the classes is 1.
    Probabilities(Evidence),
    /// Natural logarithms of probabilities of exclusive classes.
    LogProbabilities(Evidence),
    /// Independent scores in [0, 1], one for each class.
    Scores(Evidence),
    /// The most likely class, as an index or a name.
    Class(Evidence),
    /// A sequence with a map from class to score for each image, as `ZipMap` gives.
    Maps(Evidence),
    /// Values whose meaning does not follow from the graph.
    Unknown(Unclear),
}

/// Operator that decides the meaning of an output, and the operators after it.
///
/// It displays as "Softmax `probs`, followed by Cast".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Evidence {
    /// Deciding operator: `Softmax`, or the last of several that compute one.
    pub op: String,
    /// Name of its node, or of its first result where the node has none.
    pub node: String,
    /// True if several operators compute the function: `Exp`, `ReduceSum` and `Div` instead of `Softmax`.
    pub decomposed: bool,
    /// Operators between it and the output, in the order of computation.
    pub followed_by: Vec<String>,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.op, self.node)?;
        if self.decomposed {
            f.write_str(" as the last of several operators")?;
        }
        match &self.followed_by[..] {
            [] => Ok(()),
            after => write!(f, ", followed by {}", after.join(", ")),
        }
    }
}

/// Reason why the meaning of an output does not follow from the graph.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unclear {
    /// The graph has no such output.
    #[error("the file has no output `{0}`")]
    NoOutput(String),
    /// No operator computes the value.
    #[error("`{0}` is an input or a constant")]
    NotComputed(String),
    /// The operator gives neither logits nor anything that is recognised.
    #[error("the output comes from {op} `{node}`, whose values have no known meaning")]
    Operator {
        /// The operator.
        op: String,
        /// Name of its node.
        node: String,
    },
    /// A normalisation runs over another axis than that of the classes.
    #[error("{op} `{node}` does not run over the classes alone")]
    Axis {
        /// The operator.
        op: String,
        /// Name of its node.
        node: String,
    },
    /// Shapes are missing, so that the axis of the classes is not known.
    #[error("which axis {op} `{node}` runs over is not clear, because shapes after it are not known")]
    Shape {
        /// The operator.
        op: String,
        /// Name of its node.
        node: String,
    },
    /// An operator changes values whose meaning was known.
    #[error("{op} `{node}` changes the values of {before}")]
    Changed {
        /// The operator.
        op: String,
        /// Name of its node.
        node: String,
        /// Operator that gave values of a known meaning.
        before: Box<Evidence>,
    },
    /// Constants scale or shift values whose meaning was known.
    #[error("the values of {before} are multiplied by {scale} and shifted by {shift}")]
    Scaled {
        /// Factor, which is applied first.
        scale: f64,
        /// Summand.
        shift: f64,
        /// Operator that gave values of a known meaning.
        before: Box<Evidence>,
    },
    /// The values are quantised integers.
    #[error("{op} `{node}` gives quantised integers")]
    Quantized {
        /// The operator.
        op: String,
        /// Name of its node.
        node: String,
    },
    /// The graph is too large or runs in circles.
    #[error("the graph before the output is too complicated")]
    TooComplex,
}

/// Finds the meaning of the values of `output` in the graph of `model`.
///
/// The classes are taken to be the only axis that is neither the first one nor of size 1: `[N, C]`, `[N, C, 1, 1]` or
/// `[N, 1, 1, C]`. A softmax over another axis is [`Unclear::Axis`].
pub fn output_values(model: &Model, output: &str) -> OutputValues {
    let graph = inline::inlined(model);
    let index = Index::new(&graph);
    walk::Walk::new(&index, model.opset()).output(output).unwrap_or_else(OutputValues::Unknown)
}
