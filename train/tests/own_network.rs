//! The toolkit: a network that only the example knows trains, exports, verifies and classifies.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;
#[path = "../examples/own_network.rs"]
#[allow(dead_code, missing_docs)] // its `main` is for the command line
mod own_network;

use std::fs;
use std::path::Path;

use ferronnx_infer::verify::Verification;
use ferronnx_infer::{Classifier, decode};
use ferronnx_models::card::{InputForm, Precision};
use ferronnx_train::export::ExportOptions;
use ferronnx_train::fit::Fit;
use ferronnx_train::recipe::Recipe;

use self::common::colour_set;

#[test]
fn it_trains_exports_verifies_and_classifies() {
    let (dir, data) = colour_set();
    let model = dir.path().join("small.onnx");
    own_network::run(&data, &model, &data.join("test/red/000.png")).unwrap();

    let classifier = Classifier::builder().top_k(1).load(&model).unwrap();
    let card = classifier.card().clone();
    assert_eq!(card.labels, ["blue", "green", "red"]);
    assert_eq!(card.observed, ["stage1.se.gate", "stage2.se.gate", "stage3.se.gate"]);
    assert_eq!(card.precision, Precision::Fp32);
    let mut right = 0;
    for label in &card.labels {
        for image in fs::read_dir(data.join("test").join(label)).unwrap() {
            let guesses = classifier.classify(&decode::file(&image.unwrap().path()).unwrap()).unwrap();
            right += usize::from(guesses[0].label == *label);
        }
    }
    assert_eq!(right, 12, "colours are easy");
}

#[test]
fn every_form_of_it_holds() {
    let (dir, data) = colour_set();
    let model = dir.path().join("small.onnx");
    let fit = Fit::new(Recipe::load("from-scratch").unwrap().scaled_to(6), 32);
    let mut epochs = 0;
    let network = |classes| own_network::SmallNet { classes };
    let fitted = fit.run(&data, network, |epoch| epochs = epoch.epoch).unwrap();
    assert_eq!(epochs, 6);
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        let input = InputForm::Uint8;
        fitted.export(&model, &ExportOptions { precision, input, ..ExportOptions::default() }).unwrap();
        let verification = Verification::of_file(&model, &Default::default(), None).unwrap();
        assert_eq!(verification.failures(), [""; 0], "{precision}");
    }
}

#[test]
fn too_few_images_and_a_network_that_does_not_fit_are_errors() {
    let (_dir, data) = colour_set();
    let fit = Fit::new(Recipe::load("from-scratch").unwrap().scaled_to(1), 32);
    let run = |data: &Path| {
        let fitted = fit.run(data, |classes| own_network::SmallNet { classes }, |_| ());
        fitted.map(|_| ()).unwrap_err().to_string()
    };
    let error = run(&data.join("none"));
    assert!(error.contains("none"), "{error}");
    let attention = ferronnx_models::layers::ChannelAttention::new("attention", 64, 16);
    let error = fit.run(&data, |_| attention, |_| ()).unwrap_err().to_string();
    assert!(error.contains("attention"), "{error}");

    let nothing = Fit::new(Recipe::load("from-scratch").unwrap(), 0);
    let error =
        nothing.run(&data, |classes| own_network::SmallNet { classes }, |_| ()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("a crop of 0"), "{error}");

    let few = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        fs::create_dir(few.path().join(class)).unwrap();
        fs::copy(data.join("test/red/000.png"), few.path().join(class).join("0.png")).unwrap();
    }
    assert_eq!(run(few.path()), "2 training and 0 validation images are too few: add images");
}

/// The example is as short as the guide promises.
#[test]
fn it_is_short() {
    let code = include_str!("../examples/own_network.rs").lines().map(str::trim);
    let counts = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let lines = code.filter(counts).count();
    assert!(lines < 60, "{lines} lines");
}
