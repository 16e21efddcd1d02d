//! The toolkit: a network that only the example knows trains, exports, verifies and classifies.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;
#[path = "../examples/own_network.rs"]
#[allow(dead_code, missing_docs)] // its `main` is for the command line
mod own_network;

use std::fs;

use infer::{Classifier, decode};
use models::card::Precision;

use self::common::colour_set;

#[test]
fn it_trains_exports_verifies_and_classifies() {
    let (dir, data) = colour_set();
    let model = dir.path().join("small.onnx");
    own_network::run(&data, &model, &data.join("test/red/000.png")).unwrap();

    let mut classifier = Classifier::builder().top_k(1).load(&model).unwrap();
    let card = classifier.card().clone();
    assert_eq!(card.labels, ["blue", "green", "red"]);
    assert_eq!(card.observed, ["stage1.se.gate", "stage2.se.gate", "stage3.se.gate"]);
    assert_eq!(card.precision, Precision::Fp32);
    let mut right = 0;
    for label in &card.labels {
        for picture in fs::read_dir(data.join("test").join(label)).unwrap() {
            let guesses = classifier.classify(&decode::file(&picture.unwrap().path()).unwrap()).unwrap();
            right += usize::from(guesses[0].label == *label);
        }
    }
    assert_eq!(right, 12, "colours are easy");
}

/// The example is as short as the guide promises.
#[test]
fn it_is_short() {
    let code = include_str!("../examples/own_network.rs").lines().map(str::trim);
    let counts = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let lines = code.filter(counts).count();
    assert!(lines < 60, "{lines} lines");
}
