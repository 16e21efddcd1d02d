//! Model cards: read or refused, and what was read means the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ferronnx_models::card::ModelCard;

fuzz_target!(|text: &str| {
    if let Ok(card) = ModelCard::from_json(text) {
        assert_eq!(ModelCard::from_json(&card.to_json()).expect("what was written"), card);
    }
});
