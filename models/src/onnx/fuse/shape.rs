//! Shapes that a graph has or computes.

use super::matcher::Matcher;
use crate::onnx::types::Dim;

/// A number of a shape that a graph computes.
#[derive(Debug, PartialEq, Eq)]
pub enum Size<'g> {
    /// A constant.
    Constant(i64),
    /// The size of this axis of this value.
    Of(&'g str, i64),
}

impl<'g> Matcher<'g> {
    /// Content of the shape tensor `name` (an operand of `Reshape`, say), constant or computed, dimension by dimension.
    pub fn shape(&self, name: &'g str) -> Option<Vec<Size<'g>>> {
        if let Some(sizes) = self.longs(name) {
            return Some(sizes.into_iter().map(Size::Constant).collect());
        }
        let concat = self.producer_of(name, "Concat")?;
        self.node(concat).inputs.iter().map(|part| self.size(part)).collect()
    }

    /// A shape of one number.
    fn size(&self, name: &'g str) -> Option<Size<'g>> {
        if let Some(sizes) = self.longs(name) {
            return <[i64; 1]>::try_from(sizes).ok().map(|[size]| Size::Constant(size));
        }
        if let Some(shape) = self.producer_of(name, "Shape") {
            let shape = self.node(shape);
            let start = shape.int("start", 0)?;
            return (shape.int("end", -1)? == start + 1).then_some(Size::Of(shape.input(0)?, start));
        }
        let unsqueeze = self.node(self.producer_of(name, "Unsqueeze")?);
        let gather = self.node(self.producer_of(unsqueeze.input(0)?, "Gather")?);
        let value = self.whole_shape(gather.input(0)?)?;
        let [axis] = self.longs(gather.input(1)?)?.try_into().ok()?;
        Some(Size::Of(value, axis))
    }

    /// The value of which `name` is the whole shape.
    pub fn whole_shape(&self, name: &str) -> Option<&'g str> {
        let shape = self.node(self.producer_of(name, "Shape")?);
        let whole = shape.int("start", 0) == Some(0) && shape.attribute("end").is_none();
        shape.input(0).filter(|_| whole)
    }

    /// Value that the image `value` is computed of, an input of the graph if all operators on the way are known, and those
    /// operators, the last first. All keep the number of images.
    pub fn origin(&self, mut value: &'g str) -> (&'g str, Vec<usize>) {
        let mut way = Vec::new();
        // As many steps as there are nodes: a damaged file may go in circles.
        for _ in &self.graph().nodes {
            let Some(at) = self.producer(value) else { break };
            let known = matches!(
                self.operator(at),
                "Add"
                    | "AveragePool"
                    | "BatchNormalization"
                    | "Cast"
                    | "Clip"
                    | "Conv"
                    | "DequantizeLinear"
                    | "HardSigmoid"
                    | "HardSwish"
                    | "Identity"
                    | "MaxPool"
                    | "Mul"
                    | "QuantizeLinear"
                    | "Relu"
                    | "Sigmoid"
            );
            let Some(input) = self.node(at).input(0).filter(|_| known) else { break };
            way.push(at);
            value = input;
        }
        (value, way)
    }

    /// Number of images of `value`, where the graph's input fixes it.
    pub fn images(&self, value: &'g str) -> Option<i64> {
        fixed(self.input_shape(self.origin(value).0)?.first()?)
    }

    /// Channels of the image `value`, where a convolution or the graph's input says them.
    pub fn channels(&self, value: &'g str) -> Option<i64> {
        let (input, way) = self.origin(value);
        match way.into_iter().find(|&at| self.operator(at) == "Conv") {
            Some(conv) => self.constant(self.node(conv).input(1)?)?.dims().first().copied(),
            None => fixed(self.input_shape(input)?.get(1)?),
        }
    }

    /// Height and width of the image `value`, where the graph's input says those of its own.
    pub fn extent(&self, value: &'g str) -> Option<[i64; 2]> {
        let (input, way) = self.origin(value);
        let [_, _, height, width] = &self.input_shape(input)?[..] else { return None };
        let mut extent = [fixed(height)?, fixed(width)?];
        for at in way.into_iter().rev() {
            if matches!(self.operator(at), "AveragePool" | "Conv" | "MaxPool") {
                extent = Window::of(self, at)?.slide(extent)?;
            }
        }
        Some(extent)
    }

    fn input_shape(&self, name: &str) -> Option<Vec<Dim>> {
        let input = self.graph().inputs.iter().find(|input| input.name == *name)?;
        Some(input.as_tensor()?.shape)
    }
}

/// The number of a dimension that the file fixes.
fn fixed(dim: &Dim) -> Option<i64> {
    match dim {
        Dim::Fixed(size) => i64::try_from(*size).ok(),
        _ => None,
    }
}

/// Window of a convolution or a pool.
struct Window {
    kernel: [i64; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    pads: [i64; 4],
}

impl Window {
    /// The window of `node`, if it rounds sizes down.
    fn of(graph: &Matcher<'_>, at: usize) -> Option<Self> {
        let node = graph.node(at);
        let kernel = match node.ints("kernel_shape", &[])? {
            [] => graph.constant(node.input(1)?)?.dims().get(2..)?.try_into().ok()?,
            kernel => kernel.try_into().ok()?,
        };
        let two = |name| node.ints(name, &[1, 1])?.try_into().ok();
        let pads = node.ints("pads", &[0; 4])?.try_into().ok()?;
        let down = graph.is_int(at, "ceil_mode", 0, 0) && graph.pads_as_said(at);
        down.then_some(Self { kernel, strides: two("strides")?, dilations: two("dilations")?, pads })
    }

    /// Sizes of the result over an image of these sizes.
    fn slide(&self, extent: [i64; 2]) -> Option<[i64; 2]> {
        let size = |axis: usize| {
            let padded = extent[axis].checked_add(self.pads[axis])?.checked_add(self.pads[axis + 2])?;
            let covered = self.kernel[axis].checked_sub(1)?.checked_mul(self.dilations[axis])?;
            let room = padded.checked_sub(covered)?.checked_sub(1)?;
            room.checked_div_euclid(self.strides[axis])?.checked_add(1)
        };
        Some([size(0)?, size(1)?])
    }
}
