//! Inputs of a model, and the shapes that they must have.

use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use ndarray::{ArrayView, ArrayViewD, Dimension};
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use crate::error::ModelError;

/// Input of a model, borrowed; its shape is the one that the model declares.
#[derive(Debug, Clone)]
pub enum Input<'a> {
    /// 32-bit floats.
    Float(ArrayViewD<'a, f32>),
    /// Bytes.
    Bytes(ArrayViewD<'a, u8>),
}

impl<'a, D: Dimension> From<ArrayView<'a, f32, D>> for Input<'a> {
    fn from(values: ArrayView<'a, f32, D>) -> Self {
        Self::Float(values.into_dyn())
    }
}

impl<'a, D: Dimension> From<ArrayView<'a, u8, D>> for Input<'a> {
    fn from(values: ArrayView<'a, u8, D>) -> Self {
        Self::Bytes(values.into_dyn())
    }
}

impl Input<'_> {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::Float(values) => values.shape(),
            Self::Bytes(values) => values.shape(),
        }
    }

    pub(super) fn element(&self) -> Element {
        match self {
            Self::Float(_) => Element::Float,
            Self::Bytes(_) => Element::Uint8,
        }
    }
}

/// Reads the only input and the float outputs of a session.
pub(super) fn interface(session: &Session) -> Result<(TensorInfo, Vec<TensorInfo>), ModelError> {
    let (inputs, outputs) = (session.inputs(), session.outputs());
    let [input] = inputs else {
        let names = inputs.iter().map(|input| input.name().to_owned()).collect();
        return Err(ModelError::Inputs { names });
    };
    let wrong = || ModelError::InputType { name: input.name().into(), kind: input.dtype().to_string() };
    let input = tensor(input, &[Element::Float, Element::Uint8]).ok_or_else(wrong)?;
    let float = |outlet| tensor(outlet, &[Element::Float]);
    match outputs.first().map(float) {
        Some(Some(_)) => Ok((input, outputs.iter().filter_map(float).collect())),
        _ => Err(ModelError::OutputType),
    }
}

/// Describes an input or output, if it is a tensor of one of these types.
fn tensor(outlet: &Outlet, elements: &[Element]) -> Option<TensorInfo> {
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else { return None };
    let element = match ty {
        TensorElementType::Float32 => Element::Float,
        TensorElementType::Uint8 => Element::Uint8,
        _ => return None,
    };
    let dim = |(&size, symbol): (&i64, &String)| match usize::try_from(size) {
        Ok(size) => Dim::Fixed(size),
        Err(_) => Dim::Symbol(symbol.clone()),
    };
    let shape = shape.iter().zip(dimension_symbols.iter()).map(dim).collect();
    let info = TensorInfo { name: outlet.name().into(), element, shape };
    elements.contains(&element).then_some(info)
}

/// Tells whether `sizes` match `shape`; a named dimension matches any size.
pub(crate) fn fits(shape: &[Dim], sizes: &[usize]) -> bool {
    let fit = |(dim, size): (&Dim, &usize)| matches!(dim, Dim::Symbol(_)) || *dim == Dim::Fixed(*size);
    shape.len() == sizes.len() && shape.iter().zip(sizes).all(fit)
}

/// Word for an element type in messages: `floats` or `bytes`.
pub(crate) fn kind(element: Element) -> &'static str {
    if element == Element::Uint8 { "bytes" } else { "floats" }
}

/// Text of a shape in messages: `[batch, 3, 32, 32]`.
pub(crate) fn describe(shape: &[Dim]) -> String {
    let dims: Vec<_> = shape
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Symbol(name) if name.is_empty() => "?".into(),
            Dim::Symbol(name) => name.clone(),
        })
        .collect();
    format!("[{}]", dims.join(", "))
}
