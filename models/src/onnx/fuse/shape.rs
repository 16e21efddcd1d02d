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
        let unsqueeze = self.node(self.producer_of(name, "Unsqueeze")?);
        let gather = self.node(self.producer_of(unsqueeze.input(0)?, "Gather")?);
        let shape = self.node(self.producer_of(gather.input(0)?, "Shape")?);
        let whole = shape.int("start", 0) == Some(0) && shape.attribute("end").is_none();
        let [axis] = self.longs(gather.input(1)?)?.try_into().ok()?;
        whole.then_some(Size::Of(shape.input(0)?, axis))
    }

    /// Channels of the image `value`, where a convolution or the graph's input says them.
    pub fn channels(&self, mut value: &'g str) -> Option<i64> {
        // As many steps as there are nodes: a damaged file may go in circles.
        for _ in &self.graph().nodes {
            let Some(at) = self.producer(value) else { break };
            match self.operator(at) {
                "Conv" => return self.constant(self.node(at).input(1)?)?.dims().first().copied(),
                "AveragePool" | "MaxPool" => {}
                operator if keeps_shape(operator) => {}
                _ => return None,
            }
            value = self.node(at).input(0)?;
        }
        match self.input_shape(value)?[..] {
            [_, Dim::Fixed(channels), ..] => i64::try_from(channels).ok(),
            _ => None,
        }
    }

    /// Height and width of the image `value`, where the graph's input says those of its own.
    pub fn extent(&self, mut value: &'g str) -> Option<[i64; 2]> {
        let mut windows = Vec::new();
        // As many steps as there are nodes: a damaged file may go in circles.
        for _ in &self.graph().nodes {
            let Some(at) = self.producer(value) else { break };
            match self.operator(at) {
                "AveragePool" | "Conv" | "MaxPool" => windows.push(Window::of(self, at)?),
                operator if keeps_shape(operator) => {}
                _ => return None,
            }
            value = self.node(at).input(0)?;
        }
        let extent = self.input_extent(value)?;
        windows.iter().rev().try_fold(extent, |extent, window| window.slide(extent))
    }

    fn input_extent(&self, name: &str) -> Option<[i64; 2]> {
        match self.input_shape(name)?[..] {
            [_, _, Dim::Fixed(height), Dim::Fixed(width)] => {
                Some([i64::try_from(height).ok()?, i64::try_from(width).ok()?])
            }
            _ => None,
        }
    }

    fn input_shape(&self, name: &str) -> Option<Vec<Dim>> {
        let input = self.graph().inputs.iter().find(|input| input.name == *name)?;
        Some(input.as_tensor()?.shape)
    }
}

/// True if the output of a standard operator has the shape of its first input: of `Add` and `Mul`, unless the second is
/// larger, which no network has behind convolutions.
fn keeps_shape(operator: &str) -> bool {
    matches!(
        operator,
        "Add" | "BatchNormalization"
            | "Cast"
            | "Clip"
            | "DequantizeLinear"
            | "HardSigmoid"
            | "HardSwish"
            | "Identity"
            | "Mul"
            | "QuantizeLinear"
            | "Relu"
            | "Sigmoid"
    )
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
