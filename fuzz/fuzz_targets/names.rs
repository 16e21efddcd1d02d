//! Fuzzes the names of classes: Python and JSON in metadata, and files with labels.
#![no_main]

use ferronnx_infer::assume::label_file::LabelFile;
use ferronnx_infer::assume::names;
use ferronnx_models::card::{ModelCard, Preprocessing, Provenance};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = LabelFile::parse(bytes) {
        assert!(!file.labels.is_empty());
        let _ = file.repeated();
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = names::characters(text);
    let Ok(labels) = names::labels(text) else { return };
    // What our own cards write for other tools is read back.
    let provenance = Provenance { producer: String::new(), engine: String::new(), created: String::new() };
    let card = ModelCard::new(labels.clone(), Preprocessing::for_size(32), provenance);
    for written in [card.names(), card.class_names()] {
        assert_eq!(names::labels(&written).as_ref(), Ok(&labels), "{written}");
    }
});
