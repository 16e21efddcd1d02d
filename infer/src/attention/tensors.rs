//! The tensors of a pass, where ONNX Runtime has them.
//!
//! `ort` has this too, but allocates for each.

use std::ffi::c_void;
use std::{ptr, slice};

use ort::AsPointer;
use ort::operator::ComputeContext;
use ort::sys::{ONNXTensorElementDataType, OrtValue};

use crate::ffi::{array, check};

/// Shape and values of an input.
pub(super) struct Input<'a> {
    pub(super) shape: &'a [i64],
    pub(super) values: &'a [f32],
}

/// The input at this place.
///
/// # Errors
/// When there is none, or not of floats.
pub(super) fn input(context: &ComputeContext, at: usize) -> ort::Result<Input<'_>> {
    let mut value: *const OrtValue = ptr::null();
    // SAFETY: the context is that of a running kernel; the place for the answer is ours.
    unsafe { check((ort::api().KernelContext_GetInput)(context.ptr(), at, &mut value)) }?;
    if value.is_null() {
        return Err(ort::Error::new("an input of the attention is missing"));
    }
    let (mut kind, mut sizes, mut dimensions) =
        (ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, ptr::null(), 0);
    // SAFETY: the value is a tensor, as the operator's inputs are; the places for the answers are ours.
    unsafe {
        let ask = ort::api().GetTensorElementTypeAndShapeDataReference;
        check(ask(value, &mut kind, &mut sizes, &mut dimensions))
    }?;
    if kind != ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || dimensions == 0 {
        return Err(ort::Error::new("an input of the attention is no array of floats"));
    }
    // SAFETY: the sizes are the value's, which lives as long as the kernel runs and so as long as the context is borrowed.
    let shape = unsafe { array(sizes, dimensions) };
    let start = data(value.cast_mut())?;
    // SAFETY: a tensor of floats has as many as its sizes say; nothing writes to an input while the kernel runs.
    let values = unsafe { array(start, length(shape)) };
    Ok(Input { shape, values })
}

/// The values of the only output, made to have this shape.
///
/// # Safety
/// It is asked for once while a kernel runs.
#[allow(clippy::mut_from_ref)] // as its condition says
pub(super) unsafe fn output<'a>(context: &'a ComputeContext, shape: &[i64]) -> ort::Result<&'a mut [f32]> {
    let (context, mut value) = (context.ptr().cast_mut(), ptr::null_mut());
    // SAFETY: the context is that of a running kernel; the shape is only read; the place for the answer is ours.
    unsafe {
        let make = ort::api().KernelContext_GetOutput;
        check(make(context, 0, shape.as_ptr(), shape.len(), &mut value))
    }?;
    let (start, length) = (data(value)?, length(shape));
    // SAFETY: the operator's output is of floats, and has just been made with so many; nobody else has it while the kernel
    // runs.
    Ok(if length == 0 { &mut [] } else { unsafe { slice::from_raw_parts_mut(start, length) } })
}

/// Where the values of a tensor begin.
fn data(value: *mut OrtValue) -> ort::Result<*mut f32> {
    let mut start: *mut c_void = ptr::null_mut();
    // SAFETY: the value is a tensor of the running kernel; the place for the answer is ours.
    unsafe { check((ort::api().GetTensorMutableData)(value, &mut start)) }?;
    Ok(start.cast())
}

fn length(shape: &[i64]) -> usize {
    shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).product()
}
