//! Fuzzes images: each is decoded and preprocessed, or refused.
#![no_main]

use ferronnx_infer::{Preprocessor, decode};
use ferronnx_models::card::Preprocessing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = decode::bytes(bytes) {
        let prepared = Preprocessor::new(&Preprocessing::for_size(32)).prepare(&image);
        assert_eq!(prepared.dimensions(), (32, 32));
    }
});
