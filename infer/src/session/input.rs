//! Inputs of a model, and the shapes that they must have.

use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use half::f16;
use ndarray::{ArrayView, ArrayViewD, Dimension, IxDyn};
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, Tensor, TensorElementType, TensorRef, ValueType};

use crate::error::ModelError;

/// Input of a model, borrowed; its shape is the one that the model declares.
#[derive(Debug, Clone)]
pub enum Input<'a> {
    /// Floats; converted where the model takes 16 or 64 bits.
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

impl<'a> Input<'a> {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::Float(values) => values.shape(),
            Self::Bytes(values) => values.shape(),
        }
    }

    /// Views the same values with the rank of `shape`, if their number allows it: an image as a vector, or without its one
    /// channel.
    pub(crate) fn with_rank_of(self, shape: &[Dim]) -> Self {
        let given = self.shape();
        let target: Vec<usize> = match (shape.len(), given) {
            (2, [batch, rest @ ..]) => vec![*batch, rest.iter().product()],
            (3, &[batch, 1, a, b] | &[batch, a, b, 1]) => vec![batch, a, b],
            _ => return self,
        };
        fn view<'a, T>(values: ArrayViewD<'a, T>, target: &[usize]) -> ArrayViewD<'a, T> {
            let reshaped = values.clone().into_shape_with_order(IxDyn(target));
            reshaped.unwrap_or(values)
        }
        match self {
            Self::Float(values) => Self::Float(view(values, &target)),
            Self::Bytes(values) => Self::Bytes(view(values, &target)),
        }
    }

    /// Word for the values in messages, as [`kind`].
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Float(_) => kind(Element::Float),
            Self::Bytes(_) => kind(Element::Uint8),
        }
    }

    /// Calls `run` with the values as a tensor of `element`, which [`Session::check`](super::Session) found suitable.
    pub(super) fn with_tensor<R>(
        &self,
        element: Element,
        run: impl FnOnce(SessionInputValue<'_>) -> ort::Result<R>,
    ) -> ort::Result<R> {
        match (self, element) {
            (Self::Float(values), Element::Float16) => {
                run(Tensor::from_array(values.mapv(f16::from_f32))?.into())
            }
            (Self::Float(values), Element::Double) => run(Tensor::from_array(values.mapv(f64::from))?.into()),
            (Self::Float(values), _) => {
                run(TensorRef::from_array_view(values.as_standard_layout().view())?.into())
            }
            (Self::Bytes(values), _) => {
                run(TensorRef::from_array_view(values.as_standard_layout().view())?.into())
            }
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
    let input = tensor(input).filter(|input| input.element == Element::Uint8 || is_float(input.element));
    let input = input.ok_or_else(wrong)?;
    let float = outputs.iter().filter_map(tensor).filter(|output| is_float(output.element));
    let outputs_found: Vec<_> = float.collect();
    if outputs_found.is_empty() {
        let outputs =
            outputs.iter().map(|output| format!("`{}` {}", output.name(), output.dtype())).collect();
        return Err(ModelError::OutputType { outputs });
    }
    Ok((input, outputs_found))
}

/// Tells whether values of this type are converted from or to 32-bit floats.
fn is_float(element: Element) -> bool {
    matches!(element, Element::Float | Element::Float16 | Element::Double)
}

/// Describes an input or output, if it is a tensor of numbers that are read or written here.
fn tensor(outlet: &Outlet) -> Option<TensorInfo> {
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else { return None };
    let element = match ty {
        TensorElementType::Float32 => Element::Float,
        TensorElementType::Float16 => Element::Float16,
        TensorElementType::Float64 => Element::Double,
        TensorElementType::Uint8 => Element::Uint8,
        _ => return None,
    };
    let dim = |(&size, symbol): (&i64, &String)| match usize::try_from(size) {
        Ok(size) => Dim::Fixed(size),
        Err(_) => Dim::Symbol(symbol.clone()),
    };
    let shape = shape.iter().zip(dimension_symbols.iter()).map(dim).collect();
    Some(TensorInfo { name: outlet.name().into(), element, shape })
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
