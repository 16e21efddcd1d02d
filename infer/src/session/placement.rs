//! Query for the execution provider of each operator.
//!
//! `ort` does not wrap this query (ONNX Runtime 1.24 and newer), so the C functions are called.

use std::ffi::{CStr, c_char};
use std::ptr;

use indexmap::IndexMap;
use ort::AsPointer;
use ort::session::Session;

use crate::ffi::{array, check};

/// Session setting that makes ONNX Runtime record the placement.
pub(super) const KEY: &str = "session.record_ep_graph_assignment_info";

/// Counts the operators of each provider.
pub(super) fn of(session: &Session) -> ort::Result<IndexMap<String, usize>> {
    let api = ort::api();
    let (mut subgraphs, mut count) = (ptr::null(), 0);
    // SAFETY: the session outlives this function, and both results are written on success. The array and its elements
    // belong to the session.
    let subgraphs = unsafe {
        check((api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut count))?;
        array(subgraphs, count)
    };
    let mut placement = IndexMap::new();
    for &subgraph in subgraphs {
        let (mut provider, mut nodes, mut count): (*const c_char, _, _) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the subgraph is the session's, and the results are written on success. The name is a C string.
        let provider = unsafe {
            check((api.EpAssignedSubgraph_GetEpName)(subgraph, &mut provider))?;
            check((api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut count))?;
            CStr::from_ptr(provider).to_string_lossy().into_owned()
        };
        *placement.entry(provider).or_insert(0) += count;
    }
    Ok(placement)
}
