//! Meaning of outputs of classifiers, on files that ONNX Runtime ran (`output_values/generate.py`).

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

use ferronnx_models::onnx::output_values::{OutputValues, Unclear, class_labels, output_values};
use ferronnx_models::onnx::{Model, Node, Tensor};
use flate2::read::GzDecoder;

/// Content of the files that `generate.py` packed, by name.
static FILES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let mut archive = tar::Archive::new(GzDecoder::new(&include_bytes!("output_values/files.tar.gz")[..]));
    let content = |entry: std::io::Result<tar::Entry<'_, GzDecoder<&[u8]>>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
    };
    archive.entries().unwrap().map(content).collect()
});

fn read(name: &str) -> Model {
    Model::decode(FILES[name].clone()).unwrap()
}

fn kind(values: &OutputValues) -> &'static str {
    match values {
        OutputValues::Logits(_) => "logits",
        OutputValues::Probabilities(_) => "probabilities",
        OutputValues::LogProbabilities(_) => "log-probabilities",
        OutputValues::Scores(_) => "scores",
        OutputValues::Class(_) => "class",
        OutputValues::Maps(_) => "maps",
        _ => "unknown",
    }
}

/// The name of each file begins with the meaning of its output.
#[test]
fn each_output_means_what_it_is() {
    let files = FILES.keys().filter(|name| name.ends_with(".onnx") && !name.starts_with("sklearn"));
    let (mut wrong, mut count) = (Vec::new(), 0);
    for name in files {
        let found = output_values(&read(name), "y");
        let found_kind = kind(&found);
        if !name.starts_with(found_kind) {
            wrong.push(format!("{name}: {found:?}"));
        }
        count += 1;
    }
    assert!(count > 80, "{count} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[derive(serde::Deserialize)]
struct Expected {
    outputs: BTreeMap<String, String>,
    classes: Vec<String>,
}

#[test]
fn outputs_and_classes_of_sklearn() {
    let answers: BTreeMap<String, Expected> = serde_json::from_slice(&FILES["sklearn.json"]).unwrap();
    let mut wrong = Vec::new();
    for (file, expected) in answers {
        let model = read(&file);
        for (output, meaning) in &expected.outputs {
            let found = output_values(&model, output);
            if kind(&found) != meaning {
                wrong.push(format!("{file} {output}: {meaning} expected, {found:?}"));
            }
        }
        let classes = class_labels(&model);
        if classes.as_ref() != Some(&expected.classes) {
            wrong.push(format!("{file}: {classes:?}, not {:?}", expected.classes));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_evidence_is_a_sentence() {
    let evidence = |name: &str| match output_values(&read(name), "y") {
        OutputValues::Probabilities(evidence) | OutputValues::Logits(evidence) => evidence.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(evidence("probabilities-cast.onnx"), "Softmax `p`, followed by Cast");
    assert_eq!(
        evidence("probabilities-qdq-reshape.onnx"),
        "Softmax `p`, followed by QuantizeLinear, Flatten, DequantizeLinear"
    );
    assert_eq!(evidence("probabilities-parts.onnx"), "Div `y` as the last of several operators");
    assert_eq!(evidence("logits-temperature.onnx"), "Gemm `z`, followed by Div");
    assert!(evidence("probabilities-nested-function.onnx").starts_with("Softmax `p`, followed by"));
}

#[test]
fn the_reason_is_one_that_can_be_matched() {
    let reason = |name: &str, output: &str| match output_values(&read(name), output) {
        OutputValues::Unknown(reason) => reason,
        other => panic!("{name}: {other:?}"),
    };
    assert!(matches!(reason("unknown-axis-of-size-1.onnx", "y"), Unclear::Axis { .. }));
    assert!(matches!(reason("unknown-quantized.onnx", "y"), Unclear::Quantized { .. }));
    assert!(matches!(reason("unknown-percent.onnx", "y"), Unclear::Scaled { scale: 100.0, .. }));
    assert!(matches!(reason("unknown-subset.onnx", "y"), Unclear::Changed { .. }));
    assert!(matches!(reason("unknown-relu.onnx", "y"), Unclear::Operator { .. }));
    assert!(matches!(reason("unknown-relu.onnx", "none"), Unclear::NoOutput(_)));
}

/// A damaged file may go in circles, and a hostile one may branch at every node.
#[test]
fn hostile_graphs_end() {
    let mut model = read("logits-gemm.onnx");
    model.graph.nodes = vec![Node::new("Identity", ["y"], ["y"])];
    assert_eq!(output_values(&model, "y"), OutputValues::Unknown(Unclear::TooComplex));
    model.graph.nodes = vec![Node::new("Add", ["y", "y"], ["y"])];
    assert_eq!(output_values(&model, "y"), OutputValues::Unknown(Unclear::TooComplex));

    let link = |at: usize, op: &str| {
        let operands = if op == "Add" { vec![format!("v{at}"); 2] } else { vec![format!("v{at}")] };
        Node::new(op, operands, [if at == 0 { "y".into() } else { format!("v{}", at - 1) }])
    };
    for (op, length) in [("Identity", 100_000), ("Add", 40), ("Exp", 100_000), ("Concat", 100_000)] {
        model.graph.nodes = (0..length).rev().map(|at| link(at, op)).collect();
        assert!(matches!(output_values(&model, "y"), OutputValues::Unknown(_)), "{op}");
    }
    model.graph.nodes = vec![Node::new("Softmax", ["c"], ["y"]).with("axis", i64::MIN)];
    model.graph.initializers.insert("c".into(), Tensor::scalar(1.0_f32));
    assert!(matches!(output_values(&model, "y"), OutputValues::Unknown(_)));
}

/// The public cases, where they lie beside the checkout.
#[test]
fn public_cases() {
    let cases: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "shared", "cases"].iter().collect();
    let cases = match cases.join("softmax-not-last").read_dir() {
        Ok(files) => files.map(|file| file.unwrap().path()),
        Err(_) => return eprintln!("not run: the public cases are not beside the checkout"),
    };
    for path in cases.filter(|path| path.extension().is_some_and(|ending| ending == "onnx")) {
        let model = Model::decode(fs::read(&path).unwrap()).unwrap();
        let output = model.graph.outputs[0].name.to_string();
        let expected = if path.ends_with("logits.onnx") { "logits" } else { "probabilities" };
        let found = output_values(&model, &output);
        assert_eq!(kind(&found), expected, "{}: {found:?}", path.display());
    }
}
