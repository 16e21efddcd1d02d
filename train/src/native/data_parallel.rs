//! Hooks on gradients, copies of many tensors, and batch norm with the statistics of all ranks.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{Tensors, check, pointer, pointers};
use crate::error::TorchError;

type Sum = extern "C" fn(*mut c_void, *mut C_tensor) -> *mut c_char;
type Release = extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn ferronnx_message(text: *const c_char, length: usize) -> *mut c_char;
    fn ferronnx_on_gradient(
        parameter: *const C_tensor,
        context: *mut c_void,
        call: extern "C" fn(*mut c_void),
        release: Release,
    ) -> *mut c_char;
    fn ferronnx_off_gradient(parameter: *const C_tensor) -> *mut c_char;
    fn ferronnx_gradient(parameter: *const C_tensor, gradient: *mut *mut C_tensor) -> *mut c_char;
    fn ferronnx_set_gradients(parameters: Tensors, gradients: Tensors, count: usize) -> *mut c_char;
    fn ferronnx_copy_all(to: Tensors, from: Tensors, count: usize) -> *mut c_char;
    fn ferronnx_sync_batch_norm(
        input: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        running_mean: *const C_tensor,
        running_var: *const C_tensor,
        momentum: f64,
        eps: f64,
        context: *mut c_void,
        call: Sum,
        release: Release,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// Function that is called whenever the gradient of a parameter is complete in a backward pass.
///
/// A backward pass on the CPU calls it on the thread that began the pass. It must not panic.
#[derive(Debug)]
pub(crate) struct GradientHook(Tensor);

impl GradientHook {
    /// Calls `function` from now on, until the hook is dropped; a parameter has one hook.
    pub fn new(parameter: &Tensor, function: impl Fn() + 'static) -> Result<Self, TorchError> {
        type Function = Box<dyn Fn()>;
        extern "C" fn call(context: *mut c_void) {
            // SAFETY: the box below, which is alive until it is released.
            unsafe { (*context.cast::<Function>())() }
        }
        extern "C" fn release(context: *mut c_void) {
            // SAFETY: the box below, which is released once.
            drop(unsafe { Box::from_raw(context.cast::<Function>()) });
        }
        let context = Box::into_raw(Box::new(Box::new(function) as Function)).cast();
        // SAFETY: the tensor is borrowed for the call; the hook owns its context.
        check(unsafe { ferronnx_on_gradient(pointer(parameter), context, call, release) })?;
        Ok(Self(parameter.shallow_clone()))
    }
}

impl Drop for GradientHook {
    fn drop(&mut self) {
        // SAFETY: the tensor is alive; nothing depends on a hook that cannot be removed.
        let _ = check(unsafe { ferronnx_off_gradient(pointer(&self.0)) });
    }
}

/// The gradient of a parameter, if it has one.
pub(crate) fn gradient(parameter: &Tensor) -> Result<Option<Tensor>, TorchError> {
    let mut found = ptr::null_mut();
    // SAFETY: the tensor is borrowed for the call, and `found` is written before null is returned.
    check(unsafe { ferronnx_gradient(pointer(parameter), &raw mut found) })?;
    // SAFETY: a new handle of which this is the only owner.
    Ok((!found.is_null()).then(|| unsafe { Tensor::from_ptr(found) }))
}

/// Replaces the gradients of parameters by those beside them, of the same shape.
pub(crate) fn set_gradients(pairs: &[(&Tensor, &Tensor)]) -> Result<(), TorchError> {
    let (parameters, gradients): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let (parameters, gradients) = (pointers(&parameters), pointers(&gradients));
    // SAFETY: both lists have the length that is passed and point to tensors borrowed for the call.
    check(unsafe { ferronnx_set_gradients(parameters.as_ptr(), gradients.as_ptr(), pairs.len()) })
}

/// Copies the second tensor of each pair to the first, which has its shape and is on its device.
pub(crate) fn copy_all(pairs: &[(&Tensor, &Tensor)]) -> Result<(), TorchError> {
    let (to, from): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let (to, from) = (pointers(&to), pointers(&from));
    // SAFETY: both lists have the length that is passed and point to tensors borrowed for the call.
    check(unsafe { ferronnx_copy_all(to.as_ptr(), from.as_ptr(), pairs.len()) })
}

/// Batch norm of `input` `[N, C, ...]` with mean and variance of the images of all ranks, which may have different
/// numbers of images; `sum` adds a tensor over the ranks, in place.
///
/// `params` are weight, bias, running mean and running variance, `[C]`; the last two are updated. The backward pass calls
/// `sum` too, once.
pub(crate) fn sync_batch_norm<E, S>(
    input: &Tensor,
    params: [&Tensor; 4],
    momentum: f64,
    eps: f64,
    sum: Arc<S>,
) -> Result<Tensor, TorchError>
where
    E: std::error::Error,
    S: Fn(&Tensor) -> Result<(), E> + Send + Sync + 'static,
{
    extern "C" fn call<E: std::error::Error, S: Fn(&Tensor) -> Result<(), E>>(
        context: *mut c_void,
        tensor: *mut C_tensor,
    ) -> *mut c_char {
        // SAFETY: the reference below, which is alive until it is released; the tensor is borrowed for the call.
        let (sum, tensor) = unsafe { (&*context.cast::<S>(), Tensor::clone_from_ptr(tensor)) };
        match sum(&tensor) {
            Ok(()) => ptr::null_mut(),
            Err(error) => allocated(&crate::error::chain(&error)),
        }
    }
    extern "C" fn release<S>(context: *mut c_void) {
        // SAFETY: the reference below, which is released once.
        drop(unsafe { Arc::from_raw(context.cast::<S>().cast_const()) });
    }
    let [weight, bias, mean, var] = params;
    let context = Arc::into_raw(sum).cast_mut().cast();
    let mut output = ptr::null_mut();
    // SAFETY: the tensors are borrowed for the call, the context is owned by what is made of it, and `output` is written
    // before null is returned.
    check(unsafe {
        ferronnx_sync_batch_norm(
            pointer(input),
            pointer(weight),
            pointer(bias),
            pointer(mean),
            pointer(var),
            momentum,
            eps,
            context,
            call::<E, S>,
            release::<S>,
            &raw mut output,
        )
    })?;
    // SAFETY: a new tensor of which this is the only handle.
    Ok(unsafe { Tensor::from_ptr(output) })
}

/// Copies a message to memory of C++, which frees it.
fn allocated(text: &str) -> *mut c_char {
    // SAFETY: the text is borrowed for the call, which copies as many bytes.
    unsafe { ferronnx_message(text.as_ptr().cast(), text.len()) }
}
