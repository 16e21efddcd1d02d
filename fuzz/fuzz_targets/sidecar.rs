//! Fuzzes what tools state about a model: files beside it, and its metadata.
#![no_main]

use std::fs;

use ferronnx_infer::assume::{Assumptions, sidecar};
use libfuzzer_sys::fuzz_target;

/// Files that are read beside a model, and entries of its metadata.
const NAMES: [&str; 10] = [
    "config.json",
    "preprocessor_config.json",
    "labels.txt",
    "task",
    "author",
    "imgsz",
    "version",
    "channels",
    "names",
    "Image.NominalPixelRange",
];

// The first byte chooses the file or the entry, the rest is its content.
fuzz_target!(|input: (u8, &[u8])| {
    let (choice, content) = input;
    let name = NAMES[usize::from(choice) % NAMES.len()];
    let folder = std::env::temp_dir().join(format!("ferronnx-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    let file = folder.join(name);
    let text = str::from_utf8(content).ok();
    let metadata = |key: &str| match key {
        _ if key == name => text.map(str::to_owned),
        "task" => Some("classify".into()),
        "author" => Some("Ultralytics".into()),
        _ => None,
    };
    if name.contains('.') && !name.starts_with("Image") {
        fs::write(&file, content).expect("a temporary file");
    }
    if let Ok(facts) = sidecar::facts(Some(&folder.join("model.onnx")), metadata) {
        let _ = facts.check(&Assumptions::default());
        for size in [facts.size, facts.resize].into_iter().flatten() {
            assert!(size.value.height > 0 && size.value.width > 0);
        }
    }
    let _ = fs::remove_file(file);
});
