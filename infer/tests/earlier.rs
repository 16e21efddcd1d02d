//! Files written by an earlier version verify and classify as they did then.
//!
//! `earlier/*.onnx.gz` were exported by version 0.1.0 (commit 5deac5b) from one small network with CBAM, in four forms;
//! `earlier/answers.json` is what that version's `infer classify` said of `earlier/image.png`.
//! `earlier/generate.rs` is the program that trained and exported them.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "cli/support.rs"]
#[allow(dead_code)] // the rest is for the program's tests
mod support;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use support::{Said, Workplace};

const FORMS: [&str; 4] = ["fp32", "fp16", "int8", "uint8-attention"];

/// Largest difference of a probability: that version's resizing differed from Pillow's by up to one level of 255, and
/// another machine's vector instructions sum in another order.
const TOLERANCE: f64 = 1e-2;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/earlier").join(name)
}

fn infer(arguments: &[&str], form: &str) -> Said {
    let place = Workplace::new();
    let packed = fs::File::open(file(&format!("{form}.onnx.gz"))).unwrap();
    let model = place.path("earlier.onnx");
    io::copy(&mut GzDecoder::new(packed), &mut fs::File::create(&model).unwrap()).unwrap();
    Said::by(place.infer().args(arguments).arg("--model").arg(model))
}

#[test]
fn their_certificates_hold() {
    for form in FORMS {
        let said = infer(&["verify"], form);
        assert_eq!(said.code, 0, "{form}: {}", said.stderr);
    }
}

#[test]
fn they_classify_as_they_did() {
    let answers: Value = serde_json::from_slice(&fs::read(file("answers.json")).unwrap()).unwrap();
    let image = file("image.png");
    for form in FORMS {
        let said = infer(&["classify", image.to_str().unwrap(), "--format", "jsonl"], form);
        assert_eq!(said.code, 0, "{form}: {}", said.stderr);
        let found: Value = serde_json::from_str(&said.stdout).unwrap();
        let [found, expected] = [&found["predictions"], &answers[form]].map(|all| all.as_array().unwrap());
        assert_eq!((found.len(), expected.len()), (3, 3), "{form}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found["label"], expected["label"], "{form}");
            let [found, expected] = [found, expected].map(|one| one["probability"].as_f64().unwrap());
            assert!((found - expected).abs() < TOLERANCE, "{form}: {found} instead of {expected}");
        }
    }
}

/// Attention is recognised in them: its two blocks run as one operator each.
#[test]
fn their_attention_is_fused() {
    let said = infer(&["inspect", "--format", "json"], "fp32");
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    let fused = found["attention"]["fused"].as_array().unwrap();
    assert_eq!(fused.iter().map(|one| &one["kind"]).collect::<Vec<_>>(), ["cbam", "cbam"]);
}
