//! Copies between host memory and the memory that a session computes in.
//!
//! `ort` copies by running a session of its own, which takes longer than a small network. On a GPU the driver's own copies
//! are called, which from and to pinned memory wait for nothing else.

use std::ffi::{c_int, c_uint, c_void};
use std::fmt;
use std::ptr;

use libloading::Library;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::value::DynTensor;

/// Name of the NVIDIA driver's library.
#[cfg(windows)]
const DRIVER: &str = "nvcuda.dll";
#[cfg(not(windows))]
const DRIVER: &str = "libcuda.so.1";

/// `CUresult` of the driver; zero is success.
type Status = c_int;

/// Memory that a session computes in.
#[derive(Debug)]
pub(super) enum DeviceMemory {
    /// Host memory, of a session on the CPU: only tests bind tensors there.
    #[cfg_attr(not(test), allow(dead_code))]
    Host,
    /// Memory of a GPU.
    Cuda(Driver),
}

/// Failure of the NVIDIA driver.
#[derive(Debug, thiserror::Error)]
enum DriverError {
    #[error("the NVIDIA driver cannot be called: {0}")]
    Library(#[from] libloading::Error),
    #[error("the NVIDIA driver's {call} failed with CUDA failure {status}")]
    Call { call: &'static str, status: Status },
}

impl DeviceMemory {
    /// Memory of the GPU with this number.
    ///
    /// # Errors
    /// When the driver cannot be called.
    pub(super) fn cuda(index: usize) -> ort::Result<Self> {
        Ok(Self::Cuda(Driver::open(index).map_err(ort::Error::wrap)?))
    }

    /// Allocator of the memory that `session` computes in.
    pub(super) fn device_allocator(&self, session: &Session) -> ort::Result<Allocator> {
        let (device, index) = match self {
            Self::Host => (AllocationDevice::CPU, 0),
            Self::Cuda(driver) => (AllocationDevice::CUDA, driver.index),
        };
        Allocator::new(session, MemoryInfo::new(device, index, AllocatorType::Device, MemoryType::Default)?)
    }

    /// Allocator of host memory that is quickly copied: pinned for a GPU, if `session` has such an allocator.
    pub(super) fn host_allocator(&self, session: &Session) -> Allocator {
        let pinned = |index| {
            let device = AllocationDevice::CUDA_PINNED;
            let memory = MemoryInfo::new(device, index, AllocatorType::Device, MemoryType::CPUOutput)?;
            Allocator::new(session, memory)
        };
        match self {
            Self::Host => None,
            // Older versions give all pinned memory the number 0.
            Self::Cuda(driver) => pinned(driver.index).or_else(|_| pinned(0)).ok(),
        }
        .unwrap_or_default()
    }

    /// Copies all bytes of `from`, in host memory, to `to`, in the session's; it is done when this returns.
    pub(super) fn upload(&self, from: &DynTensor, to: &mut DynTensor) -> ort::Result<()> {
        let (bytes, from, to) = (size(from), from.data_ptr(), to.data_ptr_mut());
        match self {
            // SAFETY: both are tensors of one type and shape, and each has memory of its own.
            Self::Host => unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), bytes) },
            Self::Cuda(driver) => driver.upload(from, to, bytes).map_err(ort::Error::wrap)?,
        }
        Ok(())
    }

    /// Copies all bytes of `from`, in the session's memory, to `to`, in host memory; it is done when this returns.
    pub(super) fn download(&self, from: &DynTensor, to: &mut DynTensor) -> ort::Result<()> {
        let (bytes, from, to) = (size(from), from.data_ptr(), to.data_ptr_mut());
        match self {
            // SAFETY: as in `upload`.
            Self::Host => unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), bytes) },
            Self::Cuda(driver) => driver.download(from, to, bytes).map_err(ort::Error::wrap)?,
        }
        Ok(())
    }
}

/// Size of a tensor of numbers, in bytes.
fn size(tensor: &DynTensor) -> usize {
    let bytes = tensor.data_type().byte_size(tensor.shape().num_elements());
    bytes.expect("floats and bytes have a size")
}

/// Functions of the NVIDIA driver, and the context of a GPU that ONNX Runtime uses.
///
/// The address of device memory is passed as a pointer, which has its size on every system that CUDA supports.
pub(super) struct Driver {
    index: c_int,
    context: *mut c_void,
    set_context: unsafe extern "system" fn(*mut c_void) -> Status,
    to_device: unsafe extern "system" fn(*mut c_void, *const c_void, usize) -> Status,
    to_host: unsafe extern "system" fn(*mut c_void, *const c_void, usize) -> Status,
    synchronize: unsafe extern "system" fn(*mut c_void) -> Status,
    /// Keeps the functions loaded.
    _library: Library,
}

// SAFETY: the context may be used from any thread, each of which makes it current first.
unsafe impl Send for Driver {}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Driver {
    /// Opens the driver, for the GPU with this number.
    fn open(index: usize) -> Result<Self, DriverError> {
        // SAFETY: the driver's library has no preconditions for being loaded; ONNX Runtime's provider has loaded it already.
        let library = unsafe { Library::new(DRIVER) }?;
        // SAFETY: the types are those of `cuda.h`.
        unsafe {
            let init = *library.get::<unsafe extern "system" fn(c_uint) -> Status>(b"cuInit\0")?;
            let get =
                *library.get::<unsafe extern "system" fn(*mut c_int, c_int) -> Status>(b"cuDeviceGet\0")?;
            let retain = *library.get::<unsafe extern "system" fn(*mut *mut c_void, c_int) -> Status>(
                b"cuDevicePrimaryCtxRetain\0",
            )?;
            let index = index as c_int;
            let (mut device, mut context) = (0, ptr::null_mut());
            succeeded("cuInit", init(0))?;
            succeeded("cuDeviceGet", get(&mut device, index))?;
            // The context is the one of CUDA's runtime, which keeps it until the process ends; so is this.
            succeeded("cuDevicePrimaryCtxRetain", retain(&mut context, device))?;
            Ok(Self {
                index,
                context,
                set_context: *library.get(b"cuCtxSetCurrent\0")?,
                to_device: *library.get(b"cuMemcpyHtoD_v2\0")?,
                to_host: *library.get(b"cuMemcpyDtoH_v2\0")?,
                synchronize: *library.get(b"cuStreamSynchronize\0")?,
                _library: library,
            })
        }
    }

    fn upload(&self, from: *const c_void, to: *mut c_void, bytes: usize) -> Result<(), DriverError> {
        // SAFETY: both addresses are of tensors of this size, one on the device and one on the host. The synchronization
        // is for memory that is not pinned, from which the copy may go on when its function returns.
        unsafe {
            succeeded("cuCtxSetCurrent", (self.set_context)(self.context))?;
            succeeded("cuMemcpyHtoD", (self.to_device)(to, from, bytes))?;
            succeeded("cuStreamSynchronize", (self.synchronize)(ptr::null_mut()))
        }
    }

    fn download(&self, from: *const c_void, to: *mut c_void, bytes: usize) -> Result<(), DriverError> {
        // SAFETY: as in `upload`; ONNX Runtime has waited for its own work before a pass returns.
        unsafe {
            succeeded("cuCtxSetCurrent", (self.set_context)(self.context))?;
            succeeded("cuMemcpyDtoH", (self.to_host)(to, from, bytes))
        }
    }
}

fn succeeded(call: &'static str, status: Status) -> Result<(), DriverError> {
    if status == 0 { Ok(()) } else { Err(DriverError::Call { call, status }) }
}
