//! Access to the input and output tensors of a custom operator, without copies.
//!
//! `ort` offers this too, but allocates for each tensor.

use std::ffi::c_void;
use std::{ptr, slice};

use ort::AsPointer;
use ort::operator::ComputeContext;
use ort::sys::{ONNXTensorElementDataType, OrtValue};

use crate::ffi::{array, check};

/// Shape and values of an input, borrowed from ONNX Runtime.
pub(super) struct Input<'a> {
    pub(super) shape: &'a [i64],
    pub(super) values: &'a [f32],
}

/// Borrows the input at this position.
///
/// # Errors
/// When the input is missing or not a float tensor.
pub(super) fn input(context: &ComputeContext, at: usize) -> ort::Result<Input<'_>> {
    let mut value: *const OrtValue = ptr::null();
    // SAFETY: the context is the running kernel's, and the result is written to our variable.
    unsafe { check((ort::api().KernelContext_GetInput)(context.ptr(), at, &mut value)) }?;
    if value.is_null() {
        return Err(ort::Error::new("an input of the attention operator is missing"));
    }
    let (mut kind, mut sizes, mut dimensions) =
        (ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, ptr::null(), 0);
    // SAFETY: the value is a tensor, as all inputs of the operator, and the results are written to our variables.
    unsafe {
        let ask = ort::api().GetTensorElementTypeAndShapeDataReference;
        check(ask(value, &mut kind, &mut sizes, &mut dimensions))
    }?;
    if kind != ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || dimensions == 0 {
        return Err(ort::Error::new("an input of the attention operator is not a float tensor"));
    }
    // SAFETY: the sizes belong to the value, which lives while the kernel runs and the context is borrowed.
    let shape = unsafe { array(sizes, dimensions) };
    let start = data(value.cast_mut())?;
    // SAFETY: a float tensor has as many values as its sizes say, and nothing writes to an input while the kernel runs.
    let values = unsafe { array(start, length(shape)) };
    Ok(Input { shape, values })
}

/// Creates the only output with this shape and borrows its values.
///
/// # Safety
/// A run of the kernel calls this once: a second call would borrow the same memory.
#[allow(clippy::mut_from_ref)] // the safety condition excludes a second borrow
pub(super) unsafe fn output<'a>(context: &'a ComputeContext, shape: &[i64]) -> ort::Result<&'a mut [f32]> {
    let (context, mut value) = (context.ptr().cast_mut(), ptr::null_mut());
    // SAFETY: the context is the running kernel's, the shape is only read, and the result is written to our variable.
    unsafe {
        let make = ort::api().KernelContext_GetOutput;
        check(make(context, 0, shape.as_ptr(), shape.len(), &mut value))
    }?;
    let (start, length) = (data(value)?, length(shape));
    // SAFETY: the output is a float tensor that has just been made with this length, and nobody else uses it while the
    // kernel runs.
    Ok(if length == 0 { &mut [] } else { unsafe { slice::from_raw_parts_mut(start, length) } })
}

/// Pointer to the first value of a tensor.
fn data(value: *mut OrtValue) -> ort::Result<*mut f32> {
    let mut start: *mut c_void = ptr::null_mut();
    // SAFETY: the value is a tensor of the running kernel, and the result is written to our variable.
    unsafe { check((ort::api().GetTensorMutableData)(value, &mut start)) }?;
    Ok(start.cast())
}

fn length(shape: &[i64]) -> usize {
    shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).product()
}
