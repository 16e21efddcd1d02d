//! Run folders of earlier versions are resumed and exported.
//!
//! `old_runs/stopped` has the text files of such a run, as written but for the path of its images. Weights and optimizer
//! state would be 135 MB and are made by a formula here. `old_runs/try.py` tries whole runs against the old program.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use common::colour_set;
use ferronnx_infer::Classifier;
use ferronnx_infer::verify::Verification;
use ferronnx_models::networks::{self, Architecture};
use ferronnx_models::{Weights, checkpoint, testing};
use ferronnx_train::run::{RunFolder, RunResult};
use ndarray::ArrayD;
use predicates::prelude::*;
use predicates::str::{contains, is_empty};

/// Copies the fixture to `run`, with weights and optimizer state by formula, for the images in `data`.
fn stopped_run(run: &Path, data: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old_runs/stopped");
    fs::create_dir_all(run.join("last")).unwrap();
    for name in ["config.toml", "plan.json", "metrics.jsonl", "last/state.json"] {
        let text = fs::read_to_string(fixture.join(name)).unwrap();
        fs::write(run.join(name), text.replace("DATA", data.canonicalize().unwrap().to_str().unwrap()))
            .unwrap();
    }
    let (folder, config) = RunFolder::open(run).unwrap();
    let architecture: Architecture = serde_json::from_value(config.architecture).unwrap();
    assert_eq!(architecture.attention, None);
    let network = networks::Classifier::new(&architecture).unwrap();
    let weights = testing::weights(&network, &[1, 3, 8, 8]).unwrap();
    // The phase under way, whose optimizer state the program had saved.
    let phase = &folder.plan().unwrap().phases[1];
    let optimizer: Weights = phase.trained.iter().flat_map(|name| moments(name, &weights[name])).collect();
    checkpoint::save(&weights, run.join("best.safetensors")).unwrap();
    checkpoint::save(&weights, run.join("last/weights.safetensors")).unwrap();
    checkpoint::save(&optimizer, run.join("last/optimizer.safetensors")).unwrap();
}

fn moments(name: &str, weights: &ArrayD<f32>) -> [(String, ArrayD<f32>); 3] {
    let step = ArrayD::from_elem(vec![], 5.0);
    [
        (format!("{name}.exp_avg"), weights.mapv(|value| 1e-3 * value)),
        (format!("{name}.exp_avg_sq"), weights.mapv(|value| 1e-3 * value * value)),
        (format!("{name}.step"), step),
    ]
}

#[test]
fn an_old_run_without_attention_is_resumed_and_exported() {
    let (dir, data) = colour_set();
    let run = dir.path().join("run");
    stopped_run(&run, &data);
    let before = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let train = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command.current_dir(dir.path()).args(arguments);
        command.assert()
    };
    // An export before the run goes on: its card has no result yet.
    train(&["export", "run", "-o", "early.onnx"]).success();
    let expected = contains("going on after epoch 3, step 0").and(contains("epoch 6/6"));
    train(&["fit", "--resume", "run"]).success().stdout(expected).stderr(is_empty());
    let after = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(after.starts_with(&before) && after.lines().count() == 6, "{after}");
    let result: RunResult =
        serde_json::from_str(&fs::read_to_string(run.join("result.json")).unwrap()).unwrap();
    assert_eq!(result.epochs, 6);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("Test accuracy") && page.contains("resnet18"), "{page}");

    train(&["export", "run"]).success().stdout(contains("validation images"));
    let model = dir.path().join("model.onnx");
    let verification = Verification::of_file(&model, &Default::default(), None).unwrap();
    assert!(verification.holds(), "{:?}", verification.failures());
    let card = Classifier::builder().load(&model).unwrap().card().clone();
    let typed = Architecture { classes: 3, attention: None, ..Architecture::default() };
    assert_eq!(serde_json::from_value::<Architecture>(card.architecture).unwrap(), typed);
    assert_eq!(card.training.unwrap().recipe, "old");
}
