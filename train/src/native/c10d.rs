//! c10d, PyTorch's engine for several processes: the key-value store over TCP, and collectives of Gloo on CPU tensors.

use std::ffi::{CString, c_char, c_int, c_void};
use std::net::{IpAddr, TcpListener};
use std::ptr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{Tensors, check, ferronnx_free, pointer, pointers};
use crate::error::TorchError;

unsafe extern "C" {
    fn ferronnx_store_open(
        host: *const c_char,
        port: u16,
        serve: bool,
        listener: c_int,
        timeout_ms: i64,
        made: *mut *mut c_void,
    ) -> *mut c_char;
    fn ferronnx_store_set(
        store: *mut c_void,
        key: *const c_char,
        value: *const u8,
        length: usize,
    ) -> *mut c_char;
    fn ferronnx_store_append(
        store: *mut c_void,
        key: *const c_char,
        value: *const u8,
        length: usize,
    ) -> *mut c_char;
    fn ferronnx_store_set_first(
        store: *mut c_void,
        key: *const c_char,
        value: *const u8,
        length: usize,
    ) -> *mut c_char;
    fn ferronnx_store_add(store: *mut c_void, key: *const c_char, value: i64, sum: *mut i64) -> *mut c_char;
    fn ferronnx_store_get(
        store: *mut c_void,
        key: *const c_char,
        value: *mut *mut c_char,
        length: *mut usize,
    ) -> *mut c_char;
    fn ferronnx_store_free(store: *mut c_void) -> *mut c_char;
    fn ferronnx_gloo_new(
        store: *mut c_void,
        prefix: *const c_char,
        rank: c_int,
        size: c_int,
        address: *const c_char,
        timeout_ms: i64,
        made: *mut *mut c_void,
    ) -> *mut c_char;
    fn ferronnx_gloo_all_reduce(
        group: *mut c_void,
        tensor: *const C_tensor,
        work: *mut *mut c_void,
    ) -> *mut c_char;
    fn ferronnx_gloo_broadcast(
        group: *mut c_void,
        tensor: *const C_tensor,
        root: c_int,
        work: *mut *mut c_void,
    ) -> *mut c_char;
    fn ferronnx_gloo_all_gather(
        group: *mut c_void,
        from: *const C_tensor,
        to: Tensors,
        size: usize,
        work: *mut *mut c_void,
    ) -> *mut c_char;
    fn ferronnx_gloo_free(group: *mut c_void) -> *mut c_char;
    fn ferronnx_work_wait(work: *mut c_void, timeout_ms: i64, done: *mut bool) -> *mut c_char;
    fn ferronnx_work_free(work: *mut c_void) -> *mut c_char;
}

/// Connection to the key-value store of all ranks, `TCPStore`.
#[derive(Debug)]
pub(crate) struct Store(*mut c_void);

// SAFETY: `TCPStore` guards each request with a mutex.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Connects to the store of another process; `None` when what listens there is no store.
    ///
    /// A program that keeps silent would be waited for without end, so the connection is made on a thread that is left
    /// behind then.
    pub fn connect(host: &str, port: u16, timeout: Duration) -> Option<Self> {
        let (host, (send, receive)) = (host.to_owned(), mpsc::channel());
        thread::spawn(move || send.send(Self::open(&host, port, None, timeout)));
        receive.recv_timeout(timeout).ok()?.ok()
    }

    /// Serves a store at the port of `listener`, which is closed with it, and connects to it.
    pub fn serve(
        host: &str,
        port: u16,
        listener: TcpListener,
        timeout: Duration,
    ) -> Result<Self, TorchError> {
        Self::open(host, port, Some(descriptor(listener)), timeout)
    }

    fn open(host: &str, port: u16, listener: Option<c_int>, timeout: Duration) -> Result<Self, TorchError> {
        let (serve, listener) = (listener.is_some(), listener.unwrap_or(-1));
        let mut made = ptr::null_mut();
        // SAFETY: the host's name ends in a zero, and `made` is written before null is returned.
        check(unsafe {
            ferronnx_store_open(
                text(host).as_ptr(),
                port,
                serve,
                listener,
                milliseconds(timeout),
                &raw mut made,
            )
        })?;
        Ok(Self(made))
    }

    /// Sets the key.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), TorchError> {
        // SAFETY: the store is open, the key ends in a zero, and the value has the length that is passed.
        check(unsafe { ferronnx_store_set(self.0, text(key).as_ptr(), value.as_ptr(), value.len()) })
    }

    /// Sets the key unless it has a value.
    pub fn set_first(&self, key: &str, value: &[u8]) -> Result<(), TorchError> {
        // SAFETY: as in `set`.
        check(unsafe { ferronnx_store_set_first(self.0, text(key).as_ptr(), value.as_ptr(), value.len()) })
    }

    /// Adds `value` to the end of what the key holds.
    pub fn append(&self, key: &str, value: &[u8]) -> Result<(), TorchError> {
        // SAFETY: as in `set`.
        check(unsafe { ferronnx_store_append(self.0, text(key).as_ptr(), value.as_ptr(), value.len()) })
    }

    /// Adds to the number that the key holds, which is 0 at first, and returns the sum.
    pub fn add(&self, key: &str, value: i64) -> Result<i64, TorchError> {
        let mut sum = 0;
        // SAFETY: the store is open, the key ends in a zero, and the sum is written.
        check(unsafe { ferronnx_store_add(self.0, text(key).as_ptr(), value, &raw mut sum) })?;
        Ok(sum)
    }

    /// Value of the key; `None` when it was not set yet.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, TorchError> {
        let (mut value, mut length) = (ptr::null_mut(), 0);
        // SAFETY: the store is open, the key ends in a zero, and both are written before null is returned.
        check(unsafe { ferronnx_store_get(self.0, text(key).as_ptr(), &raw mut value, &raw mut length) })?;
        if value.is_null() {
            return Ok(None);
        }
        // SAFETY: `value` has this length, and is ours to free.
        unsafe {
            let bytes = std::slice::from_raw_parts(value.cast::<u8>(), length).to_vec();
            ferronnx_free(value);
            Ok(Some(bytes))
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by `ferronnx_store_open`, and freed only here.
        // A connection that does not close well is closed with the process.
        let _ = check(unsafe { ferronnx_store_free(self.0) });
    }
}

/// Connections of this rank with all others, `ProcessGroupGloo`.
#[derive(Debug)]
pub(crate) struct Gloo(*mut c_void);

// SAFETY: collectives are queued under a mutex.
unsafe impl Send for Gloo {}
// SAFETY: as above; the order of collectives over all ranks is the caller's.
unsafe impl Sync for Gloo {}

impl Gloo {
    /// Connects with all ranks, which find each other through keys that begin with `prefix`.
    ///
    /// This rank listens at its address `local`; without one, at the interface that `GLOO_SOCKET_IFNAME` names.
    pub fn connect(
        store: &Store,
        prefix: &str,
        [rank, size]: [usize; 2],
        local: Option<IpAddr>,
        timeout: Duration,
    ) -> Result<Self, TorchError> {
        let local = local.map(|address| text(&address.to_string()));
        let mut made = ptr::null_mut();
        // SAFETY: the store is open, the texts end in a zero, and `made` is written before null is returned.
        check(unsafe {
            ferronnx_gloo_new(
                store.0,
                text(prefix).as_ptr(),
                rank as c_int,
                size as c_int,
                local.as_ref().map_or(ptr::null(), |local| local.as_ptr()),
                milliseconds(timeout),
                &raw mut made,
            )
        })?;
        Ok(Self(made))
    }

    /// Begins to replace `tensor` by its sum over all ranks.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<Work, TorchError> {
        // SAFETY: the tensor is borrowed for the call, and c10d holds its memory until the work is done.
        Work::begin(|work| unsafe { ferronnx_gloo_all_reduce(self.0, pointer(tensor), work) })
    }

    /// Begins to replace `tensor` by that of rank `root`.
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Work, TorchError> {
        // SAFETY: as in `all_reduce`.
        Work::begin(|work| unsafe { ferronnx_gloo_broadcast(self.0, pointer(tensor), root as c_int, work) })
    }

    /// Begins to copy the tensor `from` of each rank into `to`, in the order of ranks; all have one shape.
    pub fn all_gather(&self, from: &Tensor, to: &[Tensor]) -> Result<Work, TorchError> {
        let to = pointers(&to.iter().collect::<Vec<_>>());
        // SAFETY: as in `all_reduce`; the list has the length that is passed.
        Work::begin(|work| unsafe {
            ferronnx_gloo_all_gather(self.0, pointer(from), to.as_ptr(), to.len(), work)
        })
    }
}

impl Drop for Gloo {
    fn drop(&mut self) {
        // SAFETY: made by `ferronnx_gloo_new`, and freed only here.
        // Connections that do not close well are closed with the process.
        let _ = check(unsafe { ferronnx_gloo_free(self.0) });
    }
}

/// Collective that runs in the background.
#[derive(Debug)]
pub(crate) struct Work(*mut c_void);

// SAFETY: c10d's work is made on one thread and finished on another.
unsafe impl Send for Work {}

impl Work {
    fn begin(start: impl FnOnce(*mut *mut c_void) -> *mut c_char) -> Result<Self, TorchError> {
        let mut work = ptr::null_mut();
        check(start(&raw mut work))?;
        Ok(Self(work))
    }

    /// Waits for at most `timeout`; returns whether the collective is done.
    pub fn wait(&self, timeout: Duration) -> Result<bool, TorchError> {
        let mut done = false;
        // SAFETY: the work exists, and `done` is written before null is returned.
        check(unsafe { ferronnx_work_wait(self.0, milliseconds(timeout), &raw mut done) })?;
        Ok(done)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: made by a collective, and freed only here; c10d keeps its own reference until the work is done.
        let _ = check(unsafe { ferronnx_work_free(self.0) });
    }
}

/// Descriptor of a socket, for libtorch to own.
#[cfg(unix)]
fn descriptor(listener: TcpListener) -> c_int {
    std::os::fd::IntoRawFd::into_raw_fd(listener)
}

/// No descriptor, because Windows has none: libtorch binds the port again, which was free a moment ago.
#[cfg(not(unix))]
fn descriptor(_: TcpListener) -> c_int {
    -1
}

/// Copy that ends in a zero; what follows a zero is lost.
fn text(text: &str) -> CString {
    let bytes = text.bytes().take_while(|&byte| byte != 0).collect::<Vec<_>>();
    CString::new(bytes).unwrap_or_default()
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
