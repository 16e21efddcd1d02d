//! Temperature scaling in exported files: every form divides the logits, and holds its certificate.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::Path;

use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_infer::session::Options;
use ferronnx_infer::verify::Verification;
use ferronnx_infer::{Classifier, Device};
use ferronnx_models::card::{
    Activation, CalibrationErrors, InputForm, ModelCard, Precision, Preprocessing, TemperatureScaling,
    Threshold,
};
use ferronnx_models::networks::{self, Architecture};
use ferronnx_models::onnx::Opset;
use ferronnx_models::{Weights, testing};
use ferronnx_train::export::{ExportError, ExportOptions, Images, Trained, card};
use ferronnx_train::temperature::{Labelled, TemperatureError, TrueClasses, fit};
use ndarray::{Array2, Axis, arr2};

const SIZE: u32 = 16;

fn network() -> (networks::Classifier, Weights, ModelCard) {
    let network = networks::Classifier::new(&Architecture { classes: 3, ..Architecture::default() }).unwrap();
    let weights = testing::weights(&network, &[1, 3, 16, 16]).unwrap();
    let labels = ["a", "b", "c"].map(String::from).to_vec();
    (network, weights, card(labels, Preprocessing::for_size(SIZE), serde_json::Value::Null, None))
}

fn scaling(temperature: f32) -> TemperatureScaling {
    let validation = CalibrationErrors { images: 100, before: 0.2, after: 0.1 };
    TemperatureScaling { temperature, validation, test: None }
}

fn images() -> Images {
    Images::generated(&Preprocessor::new(&Preprocessing::for_size(SIZE)))
}

/// Logits of a file for generated images, `[N, classes]`.
fn logits(path: &Path, images: &Images) -> Array2<f32> {
    let classifier = Classifier::builder().device(Device::Cpu).load(path).unwrap();
    let batch = classifier.preprocessor().batch(&images.images, classifier.card().input);
    classifier.session().run(&batch).unwrap().into_dimensionality().unwrap()
}

#[test]
fn every_form_divides_its_logits_and_nothing_else() {
    let (network, weights, card) = network();
    let divided = ModelCard { temperature_scaling: Some(scaling(2.5)), ..card.clone() };
    let images = images();
    let dir = tempfile::tempdir().unwrap();
    let forms = [
        (Precision::Fp32, InputForm::Float, Opset::MIN),
        (Precision::Fp32, InputForm::Uint8, Opset::MAX),
        (Precision::Fp16, InputForm::Float, 17),
        (Precision::Fp16, InputForm::Uint8, 18),
        (Precision::Int8, InputForm::Float, 17),
        (Precision::Int8, InputForm::Uint8, 21),
    ];
    for (precision, input, opset) in forms {
        let opset = Opset::new(opset).unwrap();
        let options = ExportOptions { precision, input, opset, ..ExportOptions::default() };
        let export = |card: &ModelCard, name: &str| {
            let path = dir.path().join(name);
            let trained = Trained { network: &network, weights: &weights, card, calibration: &images.images };
            let exported = trained.export(&path, &images, &options).unwrap();
            (logits(&path, &images), exported, path)
        };
        let (plain, exported, _) = export(&card, "plain.onnx");
        assert_eq!(exported.temperature_scaling, None);
        let (scaled, exported, path) = export(&divided, "scaled.onnx");
        assert_eq!(exported.temperature_scaling, divided.temperature_scaling);
        let largest = plain.iter().fold(0.0, |largest: f32, logit| largest.max(logit.abs()));
        let off = (&plain - &(&scaled * 2.5)).iter().fold(0.0, |most: f32, off| most.max(off.abs()));
        assert!(off <= 1e-6 * largest, "{precision} {input:?}: {off} of {largest}");
        let options = Options::default().device(Device::Cpu);
        assert!(Verification::of_file(&path, &options, None).unwrap().holds());
        let classifier = Classifier::builder().device(Device::Cpu).load(&path).unwrap();
        assert_eq!(classifier.card().temperature_scaling, divided.temperature_scaling);
        assert_eq!(classifier.card().format, 1, "earlier programs read the file");
    }
}

#[test]
fn a_temperature_is_fitted_on_labelled_images() {
    let (network, weights, card) = network();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let trained = Trained { network: &network, weights: &weights, card: &card, calibration: &[] };
    let options = ExportOptions { calibrate: true, ..ExportOptions::default() };
    let mut images = images();
    let error = trained.export(&path, &images, &options).unwrap_err();
    assert!(matches!(error, ExportError::NoLabels), "{error}");

    trained.export(&path, &images, &ExportOptions::default()).unwrap();
    let plain = logits(&path, &images);
    let best = |row: ndarray::ArrayView1<'_, f32>| (0..3).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let right: Vec<usize> = plain.rows().into_iter().map(best).collect();
    images.labels = Some(right.clone());
    let error = trained.export(&path, &images, &options).unwrap_err();
    assert!(matches!(error, ExportError::Temperature(TemperatureError::Lowest { .. })), "{error}");

    // Every fourth image has another class.
    let labels: Vec<usize> = right
        .iter()
        .enumerate()
        .map(|(image, &class)| if image % 4 == 0 { (class + 1) % 3 } else { class })
        .collect();
    images.labels = Some(labels.clone());
    let found = trained.export(&path, &images, &options).unwrap().temperature_scaling.unwrap();
    let expected = fit(&Labelled { logits: &plain, truth: TrueClasses::Single(labels) }, None).unwrap();
    assert!((found.temperature / expected.temperature - 1.0).abs() < 1e-3, "{found:?} {expected:?}");
    assert_eq!(found.validation.images, images.images.len());
    let scaled = logits(&path, &images);
    let off = (&plain - &(&scaled * found.temperature)).mapv(f32::abs);
    assert!(off.iter().all(|&off| off < 1e-4), "{off}");
}

#[test]
fn thresholds_move_with_the_logits() {
    let (network, weights, card) = network();
    let thresholds = Threshold::Each(vec![0.2, 0.5, 0.9]);
    let plain = ModelCard { activation: Activation::Sigmoid, threshold: Some(thresholds.clone()), ..card };
    let divided = ModelCard { temperature_scaling: Some(scaling(3.0)), ..plain.clone() };
    let images = images();
    let dir = tempfile::tempdir().unwrap();
    let selected = |card: &ModelCard| {
        let path = dir.path().join("m.onnx");
        let trained = Trained { network: &network, weights: &weights, card, calibration: &[] };
        trained.export(&path, &images, &ExportOptions::default()).unwrap();
        let classifier = Classifier::builder().device(Device::Cpu).load(&path).unwrap();
        let found = classifier.classify_batch(&images.images).unwrap();
        let chosen = found.iter().map(|image| {
            let mut chosen: Vec<_> =
                image.iter().filter(|one| one.selected == Some(true)).map(|one| one.index).collect();
            chosen.sort_unstable();
            chosen
        });
        (chosen.collect::<Vec<_>>(), classifier.card().threshold.clone().unwrap())
    };
    let ((before, kept), (after, moved)) = (selected(&plain), selected(&divided));
    assert_eq!(before, after);
    assert_eq!(kept, thresholds);
    let close = |class: usize, right: f32| assert!((moved.of(class) - right).abs() < 1e-6, "{moved}");
    // sigmoid(ln(t / (1 - t)) / 3): 0.25^(1/3) / (1 + 0.25^(1/3)), 1/2, 9^(1/3) / (1 + 9^(1/3)).
    [0.386_488_2, 0.5, 0.675_333_5].into_iter().enumerate().for_each(|(class, right)| close(class, right));
}

#[test]
fn errors_before_and_after_are_those_of_validation_and_test() {
    // Three of four images are right with a confidence of 0.88, so the first one is overconfident.
    let logits = |count| {
        let all: Vec<_> = (0..count).map(|_| arr2(&[[2.0_f32, 0.0]])).collect();
        let rows: Vec<_> = all.iter().map(|rows| rows.view()).collect();
        ndarray::concatenate(Axis(0), &rows).unwrap()
    };
    let (validation, test) = (logits(4), logits(2));
    let truth = vec![0, 0, 0, 1];
    let validation = Labelled { logits: &validation, truth: TrueClasses::Single(truth.clone()) };
    let test = Labelled { logits: &test, truth: TrueClasses::Single(truth[2..].to_vec()) };
    let found = fit(&validation, Some(&test)).unwrap();
    let confidence = 1.0 / (1.0 + (-2.0_f64).exp());
    assert!((f64::from(found.temperature) - 2.0 / 3f64.ln()).abs() < 1e-6, "{found:?}");
    assert!((found.validation.before - (confidence - 0.75)).abs() < 1e-9, "{found:?}");
    assert!(found.validation.after < 1e-6, "{found:?}");
    let on_test = found.test.unwrap();
    assert!(
        (on_test.before - (confidence - 0.5)).abs() < 1e-9 && (on_test.after - 0.25).abs() < 1e-6,
        "{found:?}"
    );
    assert_eq!((found.validation.images, on_test.images), (4, 2));
}
