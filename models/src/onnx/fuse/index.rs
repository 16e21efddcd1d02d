//! Questions to a graph: who reads what, which values are constant, how large a picture is.

use std::collections::HashMap;

use crate::onnx::proto::tensor_proto::DataType;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

pub type Result<T> = std::result::Result<T, String>;

/// A graph, with its values by their names.
pub struct Index<'g> {
    graph: &'g GraphProto,
    readers: HashMap<&'g str, Vec<usize>>,
    producers: HashMap<&'g str, usize>,
    constants: HashMap<&'g str, &'g TensorProto>,
}

/// A number of a shape that a graph computes.
#[derive(Debug, PartialEq, Eq)]
pub enum Size<'g> {
    Constant(i64),
    /// Of this axis of this value.
    Of(&'g str, i64),
}

/// Every value that `node` reads, in the graphs inside it too.
pub fn reads<'a>(node: &'a NodeProto, found: &mut dyn FnMut(&'a str)) {
    node.input.iter().for_each(|name| found(name));
    for attribute in &node.attribute {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            graph.node.iter().for_each(|node| reads(node, found));
            graph.output.iter().for_each(|output| found(output.name()));
        }
    }
}

impl<'g> Index<'g> {
    pub fn new(graph: &'g GraphProto) -> Self {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        let (mut producers, mut constants) = (HashMap::new(), HashMap::new());
        for (at, node) in graph.node.iter().enumerate() {
            reads(node, &mut |name| readers.entry(name).or_default().push(at));
            producers.extend(node.output.iter().map(|output| (output.as_str(), at)));
            if let ("Constant", [output]) = (node.op_type(), &node.output[..]) {
                let value = node.attribute.iter().find(|attribute| attribute.name() == "value");
                constants
                    .extend(value.and_then(|value| value.t.as_ref()).map(|tensor| (output.as_str(), tensor)));
            }
        }
        constants.extend(graph.initializer.iter().map(|tensor| (tensor.name(), tensor)));
        Self { graph, readers, producers, constants }
    }

    pub fn nodes(&self) -> &'g [NodeProto] {
        &self.graph.node
    }

    pub fn node(&self, at: usize) -> &'g NodeProto {
        &self.graph.node[at]
    }

    /// The operator of the standard domain at `node`, or nothing.
    pub fn operator(&self, node: usize) -> &'g str {
        let node = self.node(node);
        if matches!(node.domain(), "" | "ai.onnx") { node.op_type() } else { "" }
    }

    pub fn input(&self, node: usize, at: usize) -> Result<&'g str> {
        let node = self.node(node);
        node.input.get(at).map(String::as_str).ok_or_else(|| format!("{} lacks an input", node.name()))
    }

    pub fn output(&self, node: usize) -> Result<&'g str> {
        match &self.node(node).output[..] {
            [output] => Ok(output),
            _ => Err(format!("{} has not one output", self.node(node).name())),
        }
    }

    pub fn is_output(&self, value: &str) -> bool {
        self.graph.output.iter().any(|output| output.name() == value)
    }

    pub fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    fn producer(&self, value: &str, operator: &str) -> Option<usize> {
        self.producers.get(value).copied().filter(|&node| self.operator(node) == operator)
    }

    /// What `value` was before it was made a number of another precision.
    pub fn before_cast(&self, value: &'g str) -> &'g str {
        self.producer(value, "Cast").and_then(|cast| self.input(cast, 0).ok()).unwrap_or(value)
    }

    /// Whether this is all that reads `value`, and nobody fetches it.
    pub fn read_only_by(&self, value: &str, readers: &[usize]) -> Result<()> {
        if self.is_output(value) {
            return Err(format!("{value} is an output of the network"));
        }
        let all = self.readers(value).iter().all(|reader| readers.contains(reader));
        all.then_some(()).ok_or_else(|| format!("{value} is read elsewhere too"))
    }

    /// The only reader of `value`, which is one of these operators.
    pub fn only(&self, value: &str, operators: &[&str]) -> Result<usize> {
        let wanted = || operators.join(" or ");
        let [first, ..] = self.readers(value) else {
            return Err(format!("no {} reads {value}", wanted()));
        };
        self.read_only_by(value, &[*first])?;
        match operators.contains(&self.operator(*first)) {
            true => Ok(*first),
            false => Err(format!("no {} reads {value}", wanted())),
        }
    }

    /// Whether `node` takes these two, in any order.
    pub fn joins(&self, node: usize, a: &str, b: &str) -> Result<()> {
        match &self.node(node).input[..] {
            [first, second] if (first == a && second == b) || (first == b && second == a) => Ok(()),
            _ => Err(format!("{} takes others than {a} and {b}", self.node(node).name())),
        }
    }

    pub fn expect(&self, node: usize, what: &str, holds: bool) -> Result<()> {
        holds.then_some(()).ok_or_else(|| format!("{what} of {} is another", self.node(node).name()))
    }

    fn attribute(&self, node: usize, name: &str) -> Option<&'g AttributeProto> {
        self.node(node).attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub fn int(&self, node: usize, name: &str, default: i64) -> i64 {
        self.attribute(node, name).map_or(default, |attribute| attribute.i())
    }

    pub fn float(&self, node: usize, name: &str, default: f32) -> f32 {
        self.attribute(node, name).map_or(default, |attribute| attribute.f())
    }

    pub fn ints<'a>(&'a self, node: usize, name: &str, default: &'a [i64]) -> &'a [i64] {
        self.attribute(node, name).map_or(default, |attribute| &attribute.ints[..])
    }

    /// Whether a convolution or a pool pads by its `pads` alone.
    pub fn pads_as_said(&self, node: usize) -> bool {
        self.attribute(node, "auto_pad").is_none_or(|attribute| attribute.s() == b"NOTSET")
    }

    /// Axes of a value of four dimensions, from 0 on, in order: an attribute in old opsets, a constant in new ones.
    pub fn axes(&self, node: usize) -> Vec<i64> {
        let mut axes = match (self.attribute(node, "axes"), self.node(node).input.get(1)) {
            (Some(attribute), _) => attribute.ints.clone(),
            (None, Some(name)) => self.longs(name).unwrap_or_default(),
            (None, None) => Vec::new(),
        };
        axes.iter_mut().for_each(|axis| *axis += if *axis < 0 { 4 } else { 0 });
        axes.sort_unstable();
        axes
    }

    /// A constant, under whatever name.
    fn constant(&self, mut name: &'g str) -> Option<&'g TensorProto> {
        while let Some(identity) = self.producer(name, "Identity") {
            name = self.input(identity, 0).ok()?;
        }
        self.constants.get(name).copied()
    }

    fn longs(&self, name: &'g str) -> Option<Vec<i64>> {
        let tensor = self.constant(name).filter(|tensor| tensor.data_type() == DataType::Int64 as i32)?;
        Some(match &tensor.raw_data {
            Some(raw) => raw.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect(),
            None => tensor.int64_data.clone(),
        })
    }

    /// Dimensions and values of a constant of 32-bit floats.
    pub fn floats(&self, name: &'g str) -> Result<(&'g [i64], Vec<f32>)> {
        let tensor = self.constant(name).ok_or_else(|| format!("{name} is no constant"))?;
        if tensor.data_type() != DataType::Float as i32 {
            return Err(format!("{name} is not of 32-bit floats"));
        }
        let values = match &tensor.raw_data {
            Some(raw) => raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            None => tensor.float_data.clone(),
        };
        let length = tensor.dims.iter().try_fold(1, |length: i64, &size| length.checked_mul(size));
        if values.is_empty() || length != Some(values.len() as i64) {
            return Err(format!("{name} is of another shape"));
        }
        Ok((&tensor.dims, values))
    }

    /// The shape that a graph has or computes under this name, number by number.
    pub fn shape(&self, name: &'g str) -> Option<Vec<Size<'g>>> {
        if let Some(sizes) = self.longs(name) {
            return Some(sizes.into_iter().map(Size::Constant).collect());
        }
        let concat = self.producer(name, "Concat")?;
        self.node(concat).input.iter().map(|part| self.size(part)).collect()
    }

    /// A shape of one number.
    fn size(&self, name: &'g str) -> Option<Size<'g>> {
        if let Some(sizes) = self.longs(name) {
            return <[i64; 1]>::try_from(sizes).ok().map(|[size]| Size::Constant(size));
        }
        let unsqueeze = self.producer(name, "Unsqueeze")?;
        let gather = self.producer(self.input(unsqueeze, 0).ok()?, "Gather")?;
        let shape = self.producer(self.input(gather, 0).ok()?, "Shape")?;
        let whole = self.int(shape, "start", 0) == 0 && self.attribute(shape, "end").is_none();
        let [axis] = self.longs(self.input(gather, 1).ok()?)?.try_into().ok()?;
        whole.then_some(Size::Of(self.input(shape, 0).ok()?, axis))
    }

    /// Height and width of the picture `value`, where the graph's input says those of its own.
    pub fn extent(&self, mut value: &'g str) -> Option<[i64; 2]> {
        /// What a window makes of a size.
        struct Window([i64; 2], [i64; 2], [i64; 2], [i64; 4]);
        let mut windows = Vec::new();
        while let Some(&node) = self.producers.get(value) {
            match self.operator(node) {
                "Conv" | "MaxPool" => {
                    let kernel = match self.attribute(node, "kernel_shape") {
                        Some(shape) => &shape.ints[..],
                        None => self.constant(self.input(node, 1).ok()?)?.dims.get(2..)?,
                    };
                    let floor = self.int(node, "ceil_mode", 0) == 0 && self.pads_as_said(node);
                    let two = |name| self.ints(node, name, &[1, 1]).try_into().ok();
                    let pads = self.ints(node, "pads", &[0; 4]).try_into().ok();
                    let window = Window(kernel.try_into().ok()?, two("strides")?, two("dilations")?, pads?);
                    windows.push(floor.then_some(window)?);
                }
                "Add" | "BatchNormalization" | "Cast" | "Clip" | "DequantizeLinear" | "Identity" | "Mul"
                | "QuantizeLinear" | "Relu" | "Sigmoid" => {}
                _ => return None,
            }
            value = self.input(node, 0).ok()?;
        }
        let mut extent = self.input_extent(value)?;
        for Window(kernel, strides, dilations, pads) in windows.into_iter().rev() {
            for axis in 0..2 {
                let room =
                    extent[axis] + pads[axis] + pads[axis + 2] - (kernel[axis] - 1) * dilations[axis] - 1;
                extent[axis] = room.checked_div_euclid(strides[axis])? + 1;
            }
        }
        Some(extent)
    }

    fn input_extent(&self, name: &str) -> Option<[i64; 2]> {
        use crate::onnx::proto::tensor_shape_proto::dimension::Value;
        use crate::onnx::proto::type_proto::Value as Type;
        let input = self.graph.input.iter().find(|input| input.name() == name)?;
        let Some(Type::TensorType(tensor)) = &input.r#type.as_ref()?.value else { return None };
        let [_, _, height, width] = &tensor.shape.as_ref()?.dim[..] else { return None };
        let size = |dimension: &Option<Value>| match dimension {
            Some(Value::DimValue(size)) => Some(*size),
            _ => None,
        };
        Some([size(&height.value)?, size(&width.value)?])
    }
}
