//! Functions of libtorch that tch lacks, through C++ files: fused optimizers, gradient clipping, autocast, CUDA graphs, c10d; and NCCL.

pub(crate) mod c10d;
mod data_parallel;
mod graph;
pub(crate) mod nccl;

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

pub(crate) use self::data_parallel::{GradientHook, copy_all, gradient, set_gradients, sync_batch_norm};
pub(crate) use self::graph::Graph;
use crate::error::TorchError;

type Tensors = *const *mut C_tensor;

unsafe extern "C" {
    fn ferronnx_free(message: *mut c_char);
    fn ferronnx_adam(
        parameters: Tensors,
        exp_avgs: Tensors,
        exp_avg_sqs: Tensors,
        steps: Tensors,
        count: usize,
        options: *const AdamOptions,
        learning_rate: *const C_tensor,
        found_inf: *mut C_tensor,
    ) -> *mut c_char;
    fn ferronnx_sgd(
        parameters: Tensors,
        momentum_buffers: Tensors,
        count: usize,
        options: *const SgdOptions,
        learning_rate: *const C_tensor,
        momentum: *const C_tensor,
        found_inf: *mut C_tensor,
    ) -> *mut c_char;
    fn ferronnx_forget_gradients(parameters: Tensors, count: usize) -> *mut c_char;
    fn ferronnx_average(
        averages: Tensors,
        values: Tensors,
        count: usize,
        weight: *const C_tensor,
    ) -> *mut c_char;
    fn ferronnx_seed(seed: u64) -> *mut c_char;
    fn ferronnx_deterministic() -> *mut c_char;
    fn ferronnx_show_config() -> *mut c_char;
    fn ferronnx_set_gpu(index: c_int) -> *mut c_char;
    fn ferronnx_wait_for_gpu(index: c_int) -> *mut c_char;
    fn ferronnx_quiet();
    fn ferronnx_unscale(
        parameters: Tensors,
        count: usize,
        found_inf: *mut C_tensor,
        inv_scale: *const C_tensor,
    ) -> *mut c_char;
    fn ferronnx_clip(parameters: Tensors, count: usize, max_norm: f64) -> *mut c_char;
    fn ferronnx_upload(tensor: *const C_tensor, index: c_int, copy: *mut *mut C_tensor) -> *mut c_char;
    fn ferronnx_autocast(device_type: c_int, kind: c_int) -> *mut c_char;
}

/// Settings of one fused Adam step; `decoupled` weight decay makes it AdamW.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamOptions {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub weight_decay: f64,
    pub eps: f64,
    pub decoupled: bool,
}

/// A parameter with its state; all four on one device.
pub(crate) struct AdamSlot<'a> {
    pub parameter: &'a Tensor,
    pub exp_avg: &'a Tensor,
    pub exp_avg_sq: &'a Tensor,
    pub step: &'a Tensor,
}

/// Performs one step on the `slots` whose parameter has a gradient; none when `found_inf` holds 1. A tensor
/// `learning_rate` `[]` replaces that of the options.
pub(crate) fn adam(
    slots: &[AdamSlot<'_>],
    options: &AdamOptions,
    learning_rate: Option<&Tensor>,
    found_inf: Option<&Tensor>,
) -> Result<(), TorchError> {
    let list = |of: fn(&AdamSlot<'_>) -> *mut C_tensor| slots.iter().map(of).collect::<Vec<_>>();
    let parameters = list(|slot| pointer(slot.parameter));
    let exp_avgs = list(|slot| pointer(slot.exp_avg));
    let exp_avg_sqs = list(|slot| pointer(slot.exp_avg_sq));
    let steps = list(|slot| pointer(slot.step));
    // SAFETY: the four lists have the length that is passed and point to tensors borrowed for the call.
    check(unsafe {
        ferronnx_adam(
            parameters.as_ptr(),
            exp_avgs.as_ptr(),
            exp_avg_sqs.as_ptr(),
            steps.as_ptr(),
            slots.len(),
            options,
            optional(learning_rate),
            optional(found_inf),
        )
    })
}

/// Settings of one fused step of stochastic gradient descent.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct SgdOptions {
    pub learning_rate: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
}

/// Performs one step on each parameter that has a gradient, with its momentum buffer; none when `found_inf` holds 1.
///
/// Tensors `learning_rate` `[]` and `momentum` `[]` replace those of the options. A momentum comes with a rate and
/// without `found_inf`.
pub(crate) fn sgd(
    slots: &[(&Tensor, &Tensor)],
    options: &SgdOptions,
    [learning_rate, momentum]: [Option<&Tensor>; 2],
    found_inf: Option<&Tensor>,
) -> Result<(), TorchError> {
    let (parameters, buffers): (Vec<_>, Vec<_>) =
        slots.iter().map(|(parameter, buffer)| (pointer(parameter), pointer(buffer))).unzip();
    // SAFETY: both lists have the length that is passed and point to tensors borrowed for the call.
    check(unsafe {
        ferronnx_sgd(
            parameters.as_ptr(),
            buffers.as_ptr(),
            slots.len(),
            options,
            optional(learning_rate),
            optional(momentum),
            optional(found_inf),
        )
    })
}

/// Forgets the gradients of parameters: the next backward pass makes new ones.
pub(crate) fn forget_gradients(parameters: &[&Tensor]) -> Result<(), TorchError> {
    let list = pointers(parameters);
    // SAFETY: the list has the length that is passed and points to tensors borrowed for the call.
    check(unsafe { ferronnx_forget_gradients(list.as_ptr(), list.len()) })
}

/// Moves averages by the share `weight` `[]` of the way to their values; each pair is an average and a value.
pub(crate) fn average(pairs: &[(&Tensor, &Tensor)], weight: &Tensor) -> Result<(), TorchError> {
    let (averages, values): (Vec<_>, Vec<_>) =
        pairs.iter().map(|(average, value)| (pointer(average), pointer(value))).unzip();
    // SAFETY: both lists have the length that is passed and point to tensors borrowed for the call.
    check(unsafe { ferronnx_average(averages.as_ptr(), values.as_ptr(), pairs.len(), pointer(weight)) })
}

/// Keeps libtorch's allocator from writing to standard error, for the rest of the process.
pub(crate) fn quiet() {
    // SAFETY: sets a number of libtorch's logger.
    unsafe { ferronnx_quiet() };
}

/// Seeds the random numbers of libtorch, of which a process has one sequence for each device.
pub(crate) fn seed(seed: u64) -> Result<(), TorchError> {
    // SAFETY: only a number is passed.
    check(unsafe { ferronnx_seed(seed) })
}

/// Makes libtorch compute the same bits every time, for the rest of the process: it takes deterministic algorithms, and
/// cuDNN searches for none.
pub(crate) fn deterministic() -> Result<(), TorchError> {
    // SAFETY: sets switches of libtorch.
    check(unsafe { ferronnx_deterministic() })
}

/// Version of the libtorch that is loaded, such as `2.13.0`; `unknown` if it does not tell.
pub(crate) fn version() -> String {
    // SAFETY: no arguments.
    let described = owned(unsafe { ferronnx_show_config() });
    let version = described.split_once("TORCH_VERSION=").and_then(|(_, rest)| rest.split([',', ' ']).next());
    version.unwrap_or("unknown").into()
}

/// Makes the CUDA device of this number the current one of this thread, to which its streams and graphs belong.
pub(crate) fn set_gpu(index: usize) -> Result<(), TorchError> {
    // SAFETY: a number that libtorch checks.
    check(unsafe { ferronnx_set_gpu(index as c_int) })
}

/// Waits until the CUDA device of this number has done all its work.
fn wait_for_gpu(index: usize) -> Result<(), TorchError> {
    // SAFETY: a number that libtorch checks.
    check(unsafe { ferronnx_wait_for_gpu(index as c_int) })
}

/// Multiplies the gradients by `inv_scale` `[1]`; `found_inf` `[1]` becomes 1 when one of them is not finite.
pub(crate) fn unscale(
    parameters: &[&Tensor],
    found_inf: &Tensor,
    inv_scale: &Tensor,
) -> Result<(), TorchError> {
    let list = pointers(parameters);
    // SAFETY: the list has the length that is passed and points to tensors borrowed for the call.
    check(unsafe { ferronnx_unscale(list.as_ptr(), list.len(), pointer(found_inf), pointer(inv_scale)) })
}

/// Scales the gradients down to a norm of `max_norm` together, as PyTorch's `clip_grad_norm_`.
pub(crate) fn clip_gradients(parameters: &[&Tensor], max_norm: f64) -> Result<(), TorchError> {
    let list = pointers(parameters);
    // SAFETY: the list has the length that is passed and points to tensors borrowed for the call.
    check(unsafe { ferronnx_clip(list.as_ptr(), list.len(), max_norm) })
}

/// Copies `tensor` from memory to `device` without waiting for the device.
pub(crate) fn upload(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    let Device::Cuda(index) = device else { return tensor.f_to_device(device) };
    let mut copy = ptr::null_mut();
    // SAFETY: the tensor is borrowed for the call, and `copy` is written before null is returned.
    check(unsafe { ferronnx_upload(pointer(tensor), index as c_int, &raw mut copy) })
        .map_err(|error| TchError::Torch(error.to_string()))?;
    // SAFETY: a new tensor of which this is the only handle.
    Ok(unsafe { Tensor::from_ptr(copy) })
}

/// Two-byte float type, by its number in c10::ScalarType.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShortFloat {
    /// IEEE half precision.
    Half = 5,
    /// The upper half of a single-precision float.
    BFloat16 = 15,
}

/// Guard under which operations of this thread on a kind of device compute in a shorter float where that is safe.
#[derive(Debug)]
pub(crate) struct Autocast {
    device_type: c_int,
}

impl Autocast {
    /// Begins autocast to `kind` for operations on devices of the kind of `device`.
    pub fn enter(device: Device, kind: ShortFloat) -> Result<Self, TorchError> {
        // c10::DeviceType.
        let device_type = match device {
            Device::Cuda(_) => 1,
            Device::Mps => 13,
            _ => 0,
        };
        // SAFETY: two integers that libtorch checks.
        check(unsafe { ferronnx_autocast(device_type, kind as c_int) })?;
        Ok(Self { device_type })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: two integers that libtorch checks.
        // What was entered can be left.
        let _ = check(unsafe { ferronnx_autocast(self.device_type, -1) });
    }
}

fn optional(tensor: Option<&Tensor>) -> *mut C_tensor {
    tensor.map_or(ptr::null_mut(), pointer)
}

fn pointers(tensors: &[&Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(|tensor| pointer(tensor)).collect()
}

/// libtorch's functions take handles that can be written through, whatever they do with them.
fn pointer(tensor: &Tensor) -> *mut C_tensor {
    tensor.as_ptr().cast_mut()
}

fn check(message: *mut c_char) -> Result<(), TorchError> {
    if message.is_null() {
        return Ok(());
    }
    Err(TorchError::new(&owned(message)))
}

/// Takes over a text of the functions above.
fn owned(text: *mut c_char) -> String {
    // SAFETY: it ends in a zero and is ours to free.
    unsafe {
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        ferronnx_free(text);
        copy
    }
}
