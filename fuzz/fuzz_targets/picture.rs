//! Pictures: decoded and prepared, or refused.
#![no_main]

use infer::{Preprocessor, decode};
use libfuzzer_sys::fuzz_target;
use models::card::Preprocessing;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(picture) = decode::bytes(bytes) {
        let prepared = Preprocessor::new(&Preprocessing::for_size(32)).prepare(&picture);
        assert_eq!(prepared.dimensions(), (32, 32));
    }
});
