//! Decision which passes are recorded as CUDA graphs.

use std::thread::ThreadId;

use ferronnx_models::onnx::{Graph, Model};
use indexmap::IndexMap;

use crate::device::CudaGraphs;

/// Most graphs of a session: each keeps its memory on the device until the session ends.
pub(super) const MOST: usize = 8;

/// Number of the pass of one kind that is recorded when nobody asked for graphs.
const RECORDED_AT: usize = 3;

/// Kinds of passes that are counted; of more, the least frequent are not worth a graph.
const COUNTED: usize = 256;

/// Operators whose CUDA kernels only launch work, so that they can be recorded. Others may wait for the device or copy from
/// memory of the moment, which a replay would repeat.
const RECORDABLE: [&str; 47] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "DequantizeLinear",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "MatMul",
    "MaxPool",
    "Mul",
    "Neg",
    "Pow",
    "PRelu",
    "QuantizeLinear",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Selu",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// Largest number of inputs of a `Concat` that needs no copy from host memory.
const CONCATENATED: usize = 8;

/// Kind of a pass: the batch size, and the outputs that are fetched, by place.
pub(super) type Kind = (usize, Vec<usize>);

/// Way to run a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Launch each operator.
    Plain,
    /// Record or replay the graph of this number.
    Graph(usize),
}

/// Decision which passes of a session are recorded.
#[derive(Debug)]
pub(super) struct GraphPolicy {
    mode: CudaGraphs,
    /// Passes of each kind so far.
    seen: IndexMap<Kind, usize>,
    /// Kinds with a graph; the number of a graph is the place here plus one.
    recorded: Vec<Kind>,
    /// Thread that all graphs belong to: ONNX Runtime keeps them by thread.
    thread: Option<ThreadId>,
    /// Reason why nothing more is recorded.
    given_up: Option<String>,
}

impl GraphPolicy {
    /// A policy for a session that can record graphs, if there is no reason against it.
    pub(super) fn new(mode: CudaGraphs, reason: Option<String>) -> Self {
        let (seen, recorded) = (IndexMap::new(), Vec::new());
        Self { mode, seen, recorded, thread: None, given_up: reason }
    }

    /// Decides about the next pass of this `kind`, which runs on `thread`.
    pub(super) fn decide(&mut self, kind: &Kind, thread: ThreadId) -> Way {
        if self.mode == CudaGraphs::Off || self.given_up.is_some() {
            return Way::Plain;
        }
        if self.thread.is_some_and(|owner| owner != thread) {
            return Way::Plain;
        }
        if let Some(place) = self.recorded.iter().position(|recorded| recorded == kind) {
            return Way::Graph(place + 1);
        }
        if !self.is_due(kind) || self.recorded.len() == MOST {
            return Way::Plain;
        }
        self.thread = Some(thread);
        self.recorded.push(kind.clone());
        Way::Graph(self.recorded.len())
    }

    /// Counts a pass, and tells whether passes of its kind are to be recorded from now on.
    fn is_due(&mut self, kind: &Kind) -> bool {
        if self.mode == CudaGraphs::On {
            return true;
        }
        if self.seen.len() == COUNTED && !self.seen.contains_key(kind) {
            return false;
        }
        let seen = self.seen.entry(kind.clone()).or_default();
        *seen += 1;
        *seen >= RECORDED_AT
    }

    /// Stops recording and replaying, for `reason`.
    pub(super) fn give_up(&mut self, reason: String) {
        self.given_up = Some(reason);
    }

    /// Tells whether passes of this kind have a graph.
    pub(super) fn is_recorded(&self, kind: &Kind) -> bool {
        self.recorded.contains(kind)
    }

    /// Mode that was asked for.
    pub(super) fn mode(&self) -> CudaGraphs {
        self.mode
    }

    /// Description for users: whether passes are recorded, and why not.
    pub(super) fn text(&self) -> String {
        match (&self.given_up, self.mode) {
            (_, CudaGraphs::Off) => "off".into(),
            (Some(reason), _) => format!("none: {reason}"),
            (None, CudaGraphs::On) => format!("each batch size at its first pass, at most {MOST}"),
            (None, CudaGraphs::Auto) => {
                format!("each batch size at its third pass, at most {MOST}")
            }
        }
    }
}

/// Reason why passes of `model` are not recorded unless that is asked for; none if all of its operators are known to only
/// launch work.
pub(super) fn obstacle(model: &Model) -> Option<String> {
    let functions = model.functions.iter();
    let own: Vec<_> = functions.map(|function| (&*function.domain, &*function.name)).collect();
    let bodies = model.functions.iter().flat_map(|function| &function.nodes);
    let mut nodes = model.graph.nodes.iter().chain(bodies);
    let known = |domain: &str, op: &str| match domain {
        "" | "ai.onnx" => RECORDABLE.contains(&op),
        _ => own.contains(&(domain, op)),
    };
    let unknown = nodes.find(|node| {
        let wide = node.op == "Concat" && node.inputs.len() > CONCATENATED;
        !known(&node.domain, &node.op) || wide || has_graphs(node.graphs())
    })?;
    Some(format!("the operator {} is not known to be safe to record", unknown.op))
}

fn has_graphs<'a>(mut graphs: impl Iterator<Item = &'a Graph>) -> bool {
    graphs.next().is_some()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use ferronnx_models::onnx::{Node, Opset};

    use super::*;

    fn kind(batch: usize) -> Kind {
        (batch, vec![0])
    }

    #[test]
    fn the_third_pass_of_a_kind_is_recorded_and_later_ones_replay_it() {
        let here = thread::current().id();
        let mut policy = GraphPolicy::new(CudaGraphs::Auto, None);
        let ways: Vec<_> =
            [8, 8, 1, 8, 8, 1, 1].iter().map(|&batch| policy.decide(&kind(batch), here)).collect();
        let (plain, graph) = (Way::Plain, Way::Graph);
        assert_eq!(ways, [plain, plain, plain, graph(1), graph(1), plain, graph(2)]);
        assert!(policy.is_recorded(&kind(8)) && !policy.is_recorded(&kind(2)));
        let other_outputs = (8, vec![0, 1]);
        assert_eq!(policy.decide(&other_outputs, here), plain);
    }

    #[test]
    fn a_mode_that_was_asked_for_records_at_once_and_off_never() {
        let here = thread::current().id();
        let mut on = GraphPolicy::new(CudaGraphs::On, None);
        let ways: Vec<_> = (1..=10).map(|batch| on.decide(&kind(batch), here)).collect();
        let graphs = (1..=MOST).map(Way::Graph);
        assert_eq!(ways, graphs.chain([Way::Plain; 2]).collect::<Vec<_>>());
        assert_eq!(on.decide(&kind(3), here), Way::Graph(3));
        let mut off = GraphPolicy::new(CudaGraphs::Off, None);
        assert!((0..5).all(|_| off.decide(&kind(1), here) == Way::Plain));
    }

    #[test]
    fn graphs_belong_to_the_thread_that_recorded_the_first() {
        let here = thread::current().id();
        let there = thread::spawn(|| thread::current().id()).join().unwrap();
        let mut policy = GraphPolicy::new(CudaGraphs::On, None);
        assert_eq!(policy.decide(&kind(1), here), Way::Graph(1));
        assert_eq!([kind(1), kind(2)].map(|kind| policy.decide(&kind, there)), [Way::Plain; 2]);
        assert_eq!(policy.decide(&kind(1), here), Way::Graph(1));
    }

    #[test]
    fn after_a_failure_all_passes_are_plain_and_the_reason_is_told() {
        let here = thread::current().id();
        let mut policy = GraphPolicy::new(CudaGraphs::On, None);
        assert_eq!(policy.decide(&kind(1), here), Way::Graph(1));
        policy.give_up("it failed".into());
        assert_eq!(policy.decide(&kind(1), here), Way::Plain);
        assert_eq!(policy.text(), "none: it failed");
    }

    #[test]
    fn operators_that_are_not_known_are_named() {
        let mut model = Model::new(Opset::default());
        model.graph.nodes = vec![Node::new("Relu", ["x"], ["y"])];
        assert_eq!(obstacle(&model), None);
        model.graph.nodes.push(Node::new("NonZero", ["y"], ["z"]));
        assert!(obstacle(&model).unwrap().contains("NonZero"));
        model.graph.nodes = vec![Node::new("Concat", ["x"; 9], ["y"])];
        assert!(obstacle(&model).unwrap().contains("Concat"));
        model.graph.nodes = vec![Node::new("Relu", ["x"], ["y"])];
        model.graph.nodes[0].domain = "other".into();
        assert!(obstacle(&model).is_some());
    }
}
