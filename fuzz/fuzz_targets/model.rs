//! Fuzzes ONNX files: everything that is read before ONNX Runtime sees the file.
#![no_main]

use ferronnx_models::onnx::{self, Summary, WeightsDigest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let summary = Summary::of_file(bytes);
    let _ = WeightsDigest::of_file(bytes);
    let _ = onnx::metadata(bytes, "ferronnx.card");
    if onnx::detach(bytes.to_vec(), |_| Some(bytes.to_vec()), true).is_some() {
        summary.expect("a graph that can be separated can be summarised");
    }
});
