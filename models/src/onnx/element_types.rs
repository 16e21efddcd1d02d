//! Element types of a graph's values, as far as they follow from the operators.

use std::collections::HashMap;

use super::attribute::Value;
use super::element::Element;
use super::graph::Graph;
use super::index::constant;
use super::node::Node;

/// Operators whose results have the type of their first operand.
#[rustfmt::skip]
const LIKE_FIRST: [&str; 62] = [
    "Abs", "Add", "AveragePool", "BatchNormalization", "Ceil", "Clip", "Concat", "Conv", "ConvTranspose",
    "DepthToSpace", "Div", "Dropout", "Elu", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
    "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LRN", "MatMul", "Max", "MaxPool", "Mean", "Min", "Mul",
    "Neg", "Pad", "Pow", "PRelu", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize",
    "Selu", "Sigmoid", "Slice", "Softmax", "Softplus", "SpaceToDepth", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh",
    "Transpose", "Unsqueeze",
];

impl Graph {
    /// Element types of values and initializers by name, in the order of computation.
    ///
    /// Those of operators of other domains are known where the file tells them.
    pub fn element_types(&self) -> HashMap<String, Element> {
        let told = self.inputs.iter().chain(&self.value_info).chain(&self.outputs);
        let told = told.filter_map(|info| Some((info.name.to_string(), info.element()?)));
        let mut types: HashMap<String, Element> = told.collect();
        types.extend(self.initializers.iter().map(|(name, tensor)| (name.clone(), tensor.element())));
        for node in &self.nodes {
            let like = |operand: usize| types.get(node.input(operand)?).copied();
            let found = result(node, like);
            types.extend(node.output(0).map(str::to_owned).zip(found));
        }
        types
    }
}

/// Element type of the first result of `node`; `like` gives that of an operand.
fn result(node: &Node, like: impl Fn(usize) -> Option<Element>) -> Option<Element> {
    let code = |name: &str| match node.attribute(name) {
        Some(Value::Int(code)) => i32::try_from(*code).ok().map(Element::from_code),
        _ => None,
    };
    match node.standard() {
        "Cast" => code("to"),
        "Constant" => Some(constant(node)?.element()),
        "DequantizeLinear" => code("output_dtype").or(like(1)),
        "QuantizeLinear" => code("output_dtype").or(like(2)).or(Some(Element::Uint8)),
        "ArgMax" | "ArgMin" | "NonZero" | "Shape" | "Size" => Some(Element::Int64),
        "CastLike" | "Where" => like(1),
        op if LIKE_FIRST.contains(&op) => like(0),
        _ => None,
    }
}
