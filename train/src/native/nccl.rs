//! NCCL, which adds and copies tensors of several GPUs: nine functions of its C interface, found when the program runs.
//!
//! The library comes with libtorch's CUDA form, so that one build serves machines with and without GPUs.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libloading::Library;
use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::{check, pointer};
use crate::error::TorchError;

/// Name of the library; libtorch's CUDA library has opened it already.
pub(crate) const LIBRARY: &str = "libnccl.so.2";

unsafe extern "C" {
    fn ferronnx_memory(
        tensor: *const C_tensor,
        data: *mut *mut c_void,
        stream: *mut *mut c_void,
    ) -> *mut c_char;
}

/// `ncclUniqueId`: where the first rank listens for the others.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct UniqueId(pub [u8; 128]);

/// `ncclComm_t`
type Comm = *mut c_void;

/// `ncclSum`
const SUM: c_int = 0;

/// Functions of the library, as its `nccl.h` declares them; results are 0, or a code.
struct Functions {
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    comm_init_rank: unsafe extern "C" fn(*mut Comm, c_int, UniqueId, c_int) -> c_int,
    /// From, to, number of elements, type, operation, communicator, stream.
    all_reduce:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, *mut c_void) -> c_int,
    /// From, to, number of elements, type, root, communicator, stream.
    broadcast:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, *mut c_void) -> c_int,
    group_start: unsafe extern "C" fn() -> c_int,
    group_end: unsafe extern "C" fn() -> c_int,
    comm_get_async_error: unsafe extern "C" fn(Comm, *mut c_int) -> c_int,
    comm_abort: unsafe extern "C" fn(Comm) -> c_int,
    get_error_string: unsafe extern "C" fn(c_int) -> *const c_char,
}

/// The library, opened.
pub(crate) struct Nccl {
    functions: Functions,
    _library: Library,
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nccl")
    }
}

impl Nccl {
    /// Opens the library of this name, or at this path.
    ///
    /// # Errors
    /// The dynamic linker's.
    pub fn open(name: &str) -> Result<Self, libloading::Error> {
        // SAFETY: the initialisers of NCCL run as if it had been linked. Each symbol has the type that `nccl.h` declares,
        // and is not used after the library.
        unsafe {
            let library = Library::new(name)?;
            let functions = Functions {
                get_unique_id: *library.get(b"ncclGetUniqueId\0")?,
                comm_init_rank: *library.get(b"ncclCommInitRank\0")?,
                all_reduce: *library.get(b"ncclAllReduce\0")?,
                broadcast: *library.get(b"ncclBroadcast\0")?,
                group_start: *library.get(b"ncclGroupStart\0")?,
                group_end: *library.get(b"ncclGroupEnd\0")?,
                comm_get_async_error: *library.get(b"ncclCommGetAsyncError\0")?,
                comm_abort: *library.get(b"ncclCommAbort\0")?,
                get_error_string: *library.get(b"ncclGetErrorString\0")?,
            };
            Ok(Self { functions, _library: library })
        }
    }

    /// Begins to listen for the ranks of a communicator; the first rank sends them what is returned.
    pub fn unique_id(&self) -> Result<UniqueId, TorchError> {
        let mut id = UniqueId([0; 128]);
        // SAFETY: the library writes 128 bytes.
        self.done(unsafe { (self.functions.get_unique_id)(&raw mut id) })?;
        Ok(id)
    }

    /// Turns a result of the library into an error.
    fn done(&self, code: c_int) -> Result<(), TorchError> {
        match code {
            0 => Ok(()),
            code => Err(TorchError::Other(self.message(code))),
        }
    }

    fn message(&self, code: c_int) -> String {
        // SAFETY: the library gives a text that ends in a zero and stays.
        let text = unsafe { CStr::from_ptr((self.functions.get_error_string)(code)) }.to_string_lossy();
        // It ends in advice such as `(run with NCCL_DEBUG=INFO for details)`.
        format!("NCCL: {text}")
    }
}

/// Connection of the GPUs of all ranks.
///
/// Collectives are put on the current stream of the tensor's GPU, in the same order in all ranks. A CUDA graph can record
/// them; it has to go before the communicator.
pub(crate) struct Communicator {
    nccl: Nccl,
    gpu: usize,
    /// `None` after the end.
    comm: Mutex<Option<Comm>>,
}

// SAFETY: a communicator is used by one thread at a time, under the mutex; its end may come from any thread.
unsafe impl Send for Communicator {}
// SAFETY: as above.
unsafe impl Sync for Communicator {}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Communicator")
    }
}

impl Communicator {
    /// Connects the CUDA device `gpu`, which is this thread's current one, with those of all ranks, which got the same `id`.
    pub fn new(nccl: Nccl, id: UniqueId, [rank, size]: [usize; 2], gpu: usize) -> Result<Self, TorchError> {
        let mut comm = ptr::null_mut();
        // SAFETY: `comm` is written before success is returned.
        let code =
            unsafe { (nccl.functions.comm_init_rank)(&raw mut comm, size as c_int, id, rank as c_int) };
        nccl.done(code)?;
        Ok(Self { nccl, gpu, comm: Mutex::new(Some(comm)) })
    }

    /// Replaces `tensor` by its sum over all ranks.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<(), TorchError> {
        self.with(|comm| {
            let Memory { data, stream, count, kind } = Memory::of(tensor)?;
            // SAFETY: the memory has as many elements, and is not given to others before this stream is done with it.
            self.nccl
                .done(unsafe { (self.nccl.functions.all_reduce)(data, data, count, kind, SUM, comm, stream) })
        })
    }

    /// Replaces each of the `tensors` by that of rank `root`.
    pub fn broadcast(&self, tensors: &[&Tensor], root: usize) -> Result<(), TorchError> {
        let memory = tensors.iter().map(|tensor| Memory::of(tensor)).collect::<Result<Vec<_>, _>>()?;
        let Functions { group_start, group_end, broadcast, .. } = self.nccl.functions;
        self.with(|comm| {
            // SAFETY: no arguments.
            self.nccl.done(unsafe { group_start() })?;
            let begun = memory.iter().try_for_each(|&Memory { data, stream, count, kind }| {
                // SAFETY: as in `all_reduce`.
                self.nccl.done(unsafe { broadcast(data, data, count, kind, root as c_int, comm, stream) })
            });
            // SAFETY: the group was begun.
            begun.and(self.nccl.done(unsafe { group_end() }))
        })
    }

    /// Error of a collective that was begun before; `None` while another thread is about to begin one.
    pub fn error(&self) -> Option<String> {
        let comm = self.comm.try_lock().ok().and_then(|comm| *comm)?;
        let mut code = 0;
        // SAFETY: the communicator lives, and the code is written before success is returned.
        let asked = unsafe { (self.nccl.functions.comm_get_async_error)(comm, &raw mut code) };
        let code = if asked == 0 { code } else { asked };
        self.nccl.done(code).err().map(|error| error.to_string())
    }

    /// Waits until the GPU has done all its work.
    pub fn wait(&self) {
        // What failed there is of no use any more.
        let _ = super::wait_for_gpu(self.gpu);
    }

    /// Ends the collectives that are under way, whose tensors then hold anything, and the connection.
    ///
    /// Waits until CUDA graphs with collectives are gone.
    pub fn abort(&self) {
        // The lock is released first: whoever holds such a graph must not wait for it.
        let comm = self.lock().take();
        if let Some(comm) = comm {
            // SAFETY: the communicator was live, and nobody else has it.
            // Nothing depends on what cannot be ended.
            let _ = unsafe { (self.nccl.functions.comm_abort)(comm) };
        }
    }

    fn with<T>(&self, body: impl FnOnce(Comm) -> Result<T, TorchError>) -> Result<T, TorchError> {
        match *self.lock() {
            Some(comm) => body(comm),
            None => Err(TorchError::Other("the connection of the GPUs was ended".into())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Comm>> {
        self.comm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Elements of a tensor as NCCL takes them, and the stream on which they are computed.
struct Memory {
    data: *mut c_void,
    stream: *mut c_void,
    count: usize,
    kind: c_int,
}

impl Memory {
    fn of(tensor: &Tensor) -> Result<Self, TorchError> {
        let (mut data, mut stream) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the tensor is borrowed for the call, and both are written before null is returned.
        check(unsafe { ferronnx_memory(pointer(tensor), &raw mut data, &raw mut stream) })?;
        Ok(Self { data, stream, count: tensor.numel(), kind: kind(tensor.kind())? })
    }
}

/// `ncclDataType_t` of elements.
fn kind(kind: Kind) -> Result<c_int, TorchError> {
    Ok(match kind {
        Kind::Int8 => 0,
        Kind::Uint8 => 1,
        Kind::Int => 2,
        Kind::Int64 => 4,
        Kind::Half => 6,
        Kind::Float => 7,
        Kind::Double => 8,
        Kind::BFloat16 => 9,
        kind => return Err(TorchError::Other(format!("NCCL takes no tensors of {kind:?}"))),
    })
}

/// Address of a GPU on its machine's PCI bus, `0000:3B:00.0`; `None` where CUDA does not tell.
#[cfg(unix)]
pub(crate) fn gpu_address(index: usize) -> Option<String> {
    type Get = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
    let mut text = [0; 32];
    // SAFETY: CUDA's runtime library stays open; it writes a text that ends in a zero into the memory that is passed.
    unsafe {
        let all = libloading::os::unix::Library::this();
        let get = all.get::<Get>(b"cudaDeviceGetPCIBusId\0").ok()?;
        let code = get(text.as_mut_ptr(), text.len() as c_int, index as c_int);
        (code == 0).then(|| CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned())
    }
}

/// Address of a GPU, which is not known here.
#[cfg(not(unix))]
pub(crate) fn gpu_address(_: usize) -> Option<String> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
