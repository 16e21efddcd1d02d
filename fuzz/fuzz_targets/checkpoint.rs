//! Checkpoints: `.pth`, old and new, and `.safetensors`. The reader is training's, without libtorch.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../train/src/checkpoint/mod.rs"]
#[allow(dead_code)] // files are read and written by training
mod checkpoint;

fuzz_target!(|bytes: &[u8]| {
    let _ = checkpoint::read(bytes);
});
