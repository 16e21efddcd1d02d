//! Fuzzes images: each is decoded and preprocessed, or refused.
#![no_main]

use std::panic;
use std::process;
use std::sync::Once;

use ferronnx_infer::{Preprocessor, decode};
use ferronnx_models::card::Preprocessing;
use libfuzzer_sys::fuzz_target;

/// A decoder of another crate may panic, for that is an error of its image. Our own code may not.
fn tolerate_decoders() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_ours = info.location().is_none_or(|place| !place.file().contains("registry"));
            if is_ours || !decode::is_guarded() {
                report(info);
                process::abort();
            }
        }));
    });
}

fuzz_target!(|bytes: &[u8]| {
    tolerate_decoders();
    if let Ok(image) = decode::bytes(bytes) {
        assert!(image.width() > 0 && image.height() > 0);
        let prepared = Preprocessor::new(&Preprocessing::for_size(32)).prepare(&image);
        assert_eq!(prepared.dimensions(), (32, 32));
    }
});
