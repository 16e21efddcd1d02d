//! Fuzzes model cards: a card that is read is the same after writing and reading it again.
#![no_main]

use ferronnx_models::card::ModelCard;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(card) = ModelCard::from_json(text) {
        assert_eq!(ModelCard::from_json(&card.to_json()).expect("a card that was written"), card);
    }
});
