//! Fuzzes checkpoints: `.pth`, old and new, and `.safetensors`.
#![no_main]

use ferronnx_models::checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = checkpoint::read(bytes);
});
