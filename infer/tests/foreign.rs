//! Models of other tools give the right answers, or a message that says what has to be given.
//!
//! `foreign/generate.py` writes the models, the images and `answers.json`, in which ONNX Runtime and Pillow in Python
//! are the oracle.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "cli/support.rs"]
#[allow(dead_code)] // the rest is for the program's tests
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Said, Workplace};

/// Largest difference of a probability; a wrong channel order, scale or geometry changes one by more than 0.01, and
/// a step of a quantised one is 0.004.
const TOLERANCE: f64 = 5e-3;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Classifies the images with a model; paths among the flags are relative to the folder.
fn classify(place: &Workplace, images: &[String], file: &str, flags: &[String]) -> Said {
    let mut command = place.infer();
    command.current_dir(folder()).args(["classify", "--format", "jsonl", "--top-k", "99", "--batch", "2"]);
    Said::by(command.args(images).args(["--model", file]).args(flags))
}

/// Compares what the program said with the right answers; returns what is wrong.
fn difference(case: &Value, images: &[String], said: &Said) -> Option<String> {
    if said.code != 0 {
        return Some(format!("exit code {}: {}", said.code, said.stderr));
    }
    let activation = case["activation"].as_str().unwrap();
    let classes = texts(&case["classes"]);
    for (line, image) in said.stdout.lines().zip(images) {
        let found: Value = serde_json::from_str(line).unwrap();
        if found["activation"] != activation {
            return Some(format!("activation {} instead of {activation}", found["activation"]));
        }
        let predictions = found["predictions"].as_array().unwrap();
        if predictions.len() != classes.len() {
            return Some(format!("{} classes instead of {}", predictions.len(), classes.len()));
        }
        let answer = &case["answers"][image];
        if predictions[0]["label"] != answer["top"] {
            return Some(format!("{image}: {} instead of {}", predictions[0], answer["top"]));
        }
        for prediction in predictions {
            let index = prediction["index"].as_u64().unwrap() as usize;
            let found = prediction["probability"].as_f64().unwrap();
            let right = answer["probabilities"][index].as_f64().unwrap();
            if prediction["label"] != classes[index] || (found - right).abs() > TOLERANCE {
                return Some(format!("{image}: {prediction} instead of {} {right}", classes[index]));
            }
            let selected = case["threshold"].as_f64().map(|threshold| found >= threshold);
            if prediction.get("selected").and_then(Value::as_bool) != selected {
                return Some(format!("{image}: {prediction} instead of selected {selected:?}"));
            }
        }
    }
    let given = found_sources(&said.stdout);
    given.iter().find(|source| source.is_empty()).map(|_| "an assumption without a source".into())
}

fn found_sources(stdout: &str) -> Vec<String> {
    let first: Value = serde_json::from_str(stdout.lines().next().unwrap()).unwrap();
    let sources = first["assumed"].as_array().unwrap().iter();
    sources.map(|assumed| assumed["source"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_right_answer_or_a_message() {
    let answers: Value = serde_json::from_slice(&fs::read(folder().join("answers.json")).unwrap()).unwrap();
    let (images, place) = (texts(&answers["images"]), Workplace::without_model());
    let mut wrong = Vec::new();
    let cases = answers["cases"].as_object().unwrap();
    for (name, case) in cases {
        let (file, flags) = (case["file"].as_str().unwrap(), texts(&case["flags"]));
        let said = classify(&place, &images, file, &flags);
        let is_refused = said.code == 2 && said.stderr.contains(file);
        let difference = match case["expect"].as_str().unwrap() {
            "refuse" if is_refused => None,
            "refuse" => Some(format!("not refused: {}{}", said.stdout, said.stderr)),
            "either" if is_refused => None,
            _ => difference(case, &images, &said),
        };
        wrong.extend(difference.map(|difference| format!("{name}: {difference}")));
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() > 100);
}
