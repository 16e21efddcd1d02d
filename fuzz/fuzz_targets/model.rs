//! What is read of an `.onnx` before ONNX Runtime sees it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ferronnx_models::onnx::{self, Summary, WeightsDigest};

fuzz_target!(|bytes: &[u8]| {
    let summary = Summary::of_file(bytes);
    let _ = WeightsDigest::of_file(bytes);
    let _ = onnx::metadata(bytes, "ferronnx.card");
    if onnx::detach(bytes.to_vec(), |_| Some(bytes.to_vec()), true).is_some() {
        summary.expect("what can be taken apart can be read");
    }
});
