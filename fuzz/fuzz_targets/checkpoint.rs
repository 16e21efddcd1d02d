//! Fuzzes checkpoints: `.pth`, old and new, `.safetensors` and the index of parts, and the search for a network in them.
#![no_main]

use ferronnx_models::checkpoint::{self, Checkpoint, network};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = checkpoint::read(bytes);
    if let Ok(checkpoint) = Checkpoint::from_bytes(bytes) {
        let _ = network::find(&checkpoint, |_| false);
    }
    let _ = checkpoint::parts("model.safetensors.index.json".as_ref(), bytes);
});
