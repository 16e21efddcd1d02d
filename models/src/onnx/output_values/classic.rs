//! Operators of classical machine learning (`ai.onnx.ml`), as sklearn-onnx writes them.

use std::collections::HashMap;

use super::layout::Layout;
use super::walk::{Found, Kind, Meaning, Walk, identity, unknown};
use super::{Unclear, inline};
use crate::onnx::attribute::Value;
use crate::onnx::index::Index;
use crate::onnx::model::Model;
use crate::onnx::node::Node;

/// Names of the classes that the graph itself holds, in the order of its scores.
///
/// sklearn-onnx writes them into [`ZipMap`](https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html), into its
/// classifiers, or as the constant from which an `ArrayFeatureExtractor` takes the label. Integers are given as text.
pub fn class_labels(model: &Model) -> Option<Vec<String>> {
    let graph = inline::inlined(model);
    let index = Index::new(&graph);
    let of_node = |node: &Node| match &*node.op {
        "ZipMap" | "LinearClassifier" | "SVMClassifier" | "TreeEnsembleClassifier" => in_attributes(node),
        "ArrayFeatureExtractor" => {
            let class = index.node(index.producer(node.input(1)?)?);
            let names = index.constant(node.input(0)?).filter(|_| class.op == *"ArgMax")?;
            let integers = || names.to_vec::<i64>().ok().map(|values| texts(&values));
            names.strings().or_else(integers)
        }
        _ => None,
    };
    let classic = graph.nodes.iter().filter(|node| node.domain == "ai.onnx.ml");
    classic.filter_map(of_node).find(|labels| !labels.is_empty())
}

fn texts(integers: &[i64]) -> Vec<String> {
    integers.iter().map(i64::to_string).collect()
}

fn in_attributes(node: &Node) -> Option<Vec<String>> {
    let names = ["classlabels_strings", "classlabels_int64s", "classlabels_ints"];
    names.into_iter().find_map(|name| match node.attribute(name)? {
        Value::Strings(names) => names.iter().map(|name| String::from_utf8(name.to_vec()).ok()).collect(),
        Value::Ints(values) => Some(texts(values)),
        _ => None,
    })
}

/// Meaning of `value`, a result of `node`; none for operators of other domains.
pub fn meaning<'g>(
    walk: &Walk<'g>,
    node: &'g Node,
    value: &str,
    layout: Option<&Layout>,
    depth: usize,
) -> Option<Meaning> {
    if node.domain != "ai.onnx.ml" {
        return None;
    }
    let is_class = node.output(0) == Some(value);
    let found = |kind| Ok(Found::new(kind, node));
    let transformed = |plain: Option<Kind>| match (node.text("post_transform", "NONE"), plain) {
        (Some("NONE"), Some(kind)) => found(kind),
        (Some("SOFTMAX" | "SOFTMAX_ZERO"), _) => found(Kind::Probabilities),
        (Some("LOGISTIC" | "PROBIT"), _) => found(Kind::Scores),
        _ => Err(unknown(node)),
    };
    Some(match &*node.op {
        "ZipMap" => found(Kind::Maps),
        "LinearClassifier" | "SVMClassifier" | "TreeEnsembleClassifier" if is_class => found(Kind::Class),
        "LinearClassifier" if node.text("post_transform", "NONE") == Some("LOGISTIC") && opposite(node) => {
            found(Kind::Probabilities)
        }
        "LinearClassifier" => transformed(Some(Kind::Logits)),
        "SVMClassifier" => {
            let calibrated = node.attribute("prob_a").is_some();
            transformed(Some(if calibrated { Kind::Probabilities } else { Kind::Logits }))
        }
        "TreeEnsembleClassifier" => transformed(votes(node).then_some(Kind::Probabilities)),
        "Normalizer" => match node.text("norm", "MAX") {
            Some("L1") => shares(walk, node, layout, depth),
            _ => Err(unknown(node)),
        },
        _ => return None,
    })
}

/// Meaning of scores that are divided by their sum over the last axis.
fn shares<'g>(walk: &Walk<'g>, node: &'g Node, layout: Option<&Layout>, depth: usize) -> Meaning {
    let (op, name) = identity(node);
    let layout = layout.ok_or_else(|| Unclear::Shape { op: op.clone(), node: name.clone() })?;
    if !layout.are_classes(&[layout.rank() - 1]) {
        return Err(Unclear::Axis { op, node: name });
    }
    let before = walk.meaning(node.input(0).ok_or_else(|| unknown(node))?, Some(layout.clone()), depth)?;
    match before.settled()?.kind {
        Kind::Probabilities | Kind::Scores => Ok(Found::new(Kind::Probabilities, node)),
        _ => Err(unknown(node)),
    }
}

fn floats<'a>(node: &'a Node, name: &str) -> &'a [f32] {
    match node.attribute(name) {
        Some(Value::Floats(values)) => values,
        _ => &[],
    }
}

/// True if the logits of two classes are `-s` and `s`, so that their sigmoids are `1 - p` and `p`.
fn opposite(node: &Node) -> bool {
    let halves = |name| {
        let values = floats(node, name);
        let (one, other) = values.split_at(values.len() / 2);
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| *a == -b)
    };
    floats(node, "intercepts").len() == 2 && halves("intercepts") && halves("coefficients")
}

/// True if each tree of an ensemble distributes the same weight over the classes, and all trees together 1.
///
/// The weights of two classes may be those of one: ONNX Runtime gives `1 - p` and `p` then.
fn votes(node: &Node) -> bool {
    let ints = |name| node.ints(name, &[]).unwrap_or_default();
    let (trees, leaves, classes) = (ints("class_treeids"), ints("class_nodeids"), ints("class_ids"));
    let weights = floats(node, "class_weights");
    let mut of_leaf: HashMap<(i64, i64), f64> = HashMap::new();
    for ((&tree, &leaf), &weight) in trees.iter().zip(leaves).zip(weights) {
        *of_leaf.entry((tree, leaf)).or_default() += f64::from(weight);
    }
    let (mut least, mut most): (HashMap<i64, f64>, HashMap<i64, f64>) = Default::default();
    for ((tree, _), weight) in of_leaf {
        let bound = |of: &mut HashMap<i64, f64>, better: fn(f64, f64) -> f64| {
            let known = of.entry(tree).or_insert(weight);
            *known = better(*known, weight);
        };
        bound(&mut least, f64::min);
        bound(&mut most, f64::max);
    }
    let (least, most): (f64, f64) = (least.values().sum(), most.values().sum());
    let near_one = |total: f64| (total - 1.0).abs() <= 1e-4;
    let one_class = classes.windows(2).all(|pair| pair[0] == pair[1]);
    let two = in_attributes(node).is_some_and(|labels| labels.len() == 2);
    let all_positive = !weights.is_empty() && weights.iter().all(|&weight| weight >= 0.0);
    all_positive && if one_class { two && most <= 1.0 + 1e-4 } else { near_one(least) && near_one(most) }
}
