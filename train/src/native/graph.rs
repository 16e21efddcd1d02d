//! CUDA graphs: work of a GPU that is recorded once and replayed by one launch.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use super::check;
use crate::error::TorchError;

unsafe extern "C" {
    fn ferronnx_graph_begin(index: c_int, made: *mut *mut c_void) -> *mut c_char;
    fn ferronnx_graph_end(graph: *mut c_void) -> *mut c_char;
    fn ferronnx_graph_replay(graph: *mut c_void) -> *mut c_char;
    fn ferronnx_graph_free(graph: *mut c_void) -> *mut c_char;
}

/// Recorded work of a CUDA device, with the memory of all tensors that were made meanwhile.
#[derive(Debug)]
pub(crate) struct Graph(*mut c_void);

impl Graph {
    /// Records the work that `body` launches on the CUDA device of this number, without doing it.
    ///
    /// Tensors that `body` reads and writes are found at the same place in every replay.
    ///
    /// # Errors
    /// The error of `body`, or that of libtorch when something cannot be recorded.
    pub fn record<T, E: From<TorchError>>(
        index: usize,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let mut made = ptr::null_mut();
        // SAFETY: `made` is written before null is returned.
        check(unsafe { ferronnx_graph_begin(index as c_int, &raw mut made) })?;
        let graph = Self(made);
        let result = body();
        // SAFETY: the graph is being recorded; after an error of `body` its end fails too, and says less.
        let ended = check(unsafe { ferronnx_graph_end(graph.0) });
        let result = result?;
        ended?;
        Ok((graph, result))
    }

    /// Launches the recorded work.
    ///
    /// # Errors
    /// [`TorchError`] when CUDA refuses it.
    pub fn replay(&self) -> Result<(), TorchError> {
        // SAFETY: the recording has ended.
        check(unsafe { ferronnx_graph_replay(self.0) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `ferronnx_graph_begin`, and freed only here.
        // Nothing depends on memory that cannot be given back.
        let _ = check(unsafe { ferronnx_graph_free(self.0) });
    }
}
