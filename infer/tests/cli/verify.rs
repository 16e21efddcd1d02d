//! Tests of `infer verify`: what holds, and every change that must fail.

use std::fs;

use ferronnx_infer::verify::Verification;
use ferronnx_models::card::{Activation, CARD_KEY, InputForm, ModelCard, Precision, Threshold};
use ferronnx_models::certificate::{CERTIFICATE_KEY, Certificate};
use ferronnx_models::onnx;

use crate::support::{Model, Said, Workplace, options};

/// Verifies a file with this content.
fn verified(content: &[u8], args: &[&str]) -> Said {
    let place = Workplace::without_model();
    fs::write(place.path("m.onnx"), content).unwrap();
    Said::by(place.infer().args(["verify", "--model", "m.onnx"]).args(args))
}

fn with_card(change: impl FnOnce(&mut ModelCard)) -> Vec<u8> {
    let model = Model::default();
    let certificate = model.certificate().to_json();
    let mut card = model.card;
    change(&mut card);
    onnx::encode(model.graph, &[(CARD_KEY, &card.to_json()), (CERTIFICATE_KEY, &certificate)])
}

fn with_certificate(change: impl FnOnce(&mut Certificate)) -> Vec<u8> {
    let model = Model::default();
    let mut certificate = model.certificate();
    change(&mut certificate);
    model.encoded_with(&[(CERTIFICATE_KEY, &certificate.to_json())])
}

#[test]
fn what_was_exported_holds_in_every_form() {
    for precision in [Precision::Fp32, Precision::Fp16] {
        for input in [InputForm::Float, InputForm::Uint8] {
            let said = verified(&Model::of(input, precision).certified(), &[]);
            assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{}", said.stdout);
            for part in ["holds", "CPUExecutionProvider", "top-1 2 of 2", "tensors as exported"] {
                assert!(said.stdout.contains(part), "`{part}` is not in:\n{}", said.stdout);
            }
        }
    }
}

#[test]
fn the_report_fits_a_terminal() {
    let said = verified(&Model::default().certified(), &[]);
    let hidden = |line: &str| {
        let keep = ["runs on", "exported on", "weights", "logits"].iter().all(|key| !line.starts_with(key));
        keep.then(|| line.to_owned())
    };
    let lines: Vec<String> = said.stdout.lines().filter_map(hidden).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    model          m.onnx
    labels         as exported
    preprocessing  as exported
    images         2 decoded and resized, 0 of 255 apart at most
    allowed        1e-4 at most, 5e-6 rms: fp32 in full arithmetic
    when exported  1.0e-6 of the largest logit at most, top-1 7 of 7
    certificate    holds
    ");
}

#[test]
fn a_flipped_weight_is_named_though_the_logits_hardly_move() {
    let model = Model::default();
    let kernel = model.graph.graph.initializers["head.weight"].bytes().unwrap().to_vec();
    let mut bytes = model.certified();
    let at = bytes.windows(kernel.len()).position(|window| window == kernel).unwrap();
    bytes[at] ^= 1; // the last bit of a mantissa
    let said = verified(&bytes, &[]);
    said.fails(1, &["m.onnx: the weights were changed: head.weight"]);
    assert!(said.stdout.contains("1 CHANGED") && said.stdout.contains("DOES NOT HOLD"), "{}", said.stdout);
    assert!(said.stdout.contains("top-1 2 of 2"), "{}", said.stdout);
}

#[test]
fn a_weight_that_was_added_is_named() {
    let mut model = Model::default();
    let certificate = model.certificate().to_json();
    model.graph.graph.initializers.insert("extra".into(), onnx::Tensor::scalar(1.0_f32));
    let said = verified(&model.encoded_with(&[(CERTIFICATE_KEY, &certificate)]), &[]);
    said.fails(1, &["the weights were changed: extra"]);
}

#[test]
fn every_changed_field_of_the_preprocessing_fails() {
    let changes: [fn(&mut ModelCard); 3] = [
        |card| card.preprocessing.mean[1] += 1e-6,
        |card| card.preprocessing.std[2] *= 1.001,
        |card| card.preprocessing.resize = 17.into(),
    ];
    for change in changes {
        verified(&with_card(change), &[]).fails(1, &["m.onnx: the preprocessing was changed"]);
    }
    let said = verified(&with_card(|card| card.preprocessing.crop = 15.into()), &[]);
    said.fails(2, &["takes floats [batch, 3, 16, 16], but images are prepared as floats [batch, 3, 15, 15]"]);
    let said = verified(&with_card(|card| card.input = InputForm::Uint8), &[]);
    said.fails(2, &["takes floats", "but images are prepared as bytes"]);
}

#[test]
fn a_changed_meaning_of_the_outputs_fails() {
    let changes: [fn(&mut ModelCard); 2] =
        [|card| card.activation = Activation::Sigmoid, |card| card.threshold = Some(Threshold::All(0.3))];
    for change in changes {
        verified(&with_card(change), &[]).fails(1, &["m.onnx: what the outputs mean was changed"]);
    }
}

#[test]
fn a_changed_label_order_fails() {
    verified(&with_card(|card| card.labels.swap(0, 2)), &[])
        .fails(1, &["m.onnx: the labels or their order were changed"]);
    verified(&with_card(|card| card.labels[1] = "Green".into()), &[]).fails(1, &["labels"]);
}

#[test]
fn what_a_certificate_does_not_cover_may_change() {
    let said = verified(&with_card(|card| card.provenance.producer = "another tool".into()), &[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
}

/// A truncated file fails, even if it ends between two fields and still is a model.
#[test]
fn a_truncated_file_fails_wherever_it_ends() {
    let bytes = Model::default().certified();
    assert!(Verification::of_bytes(&bytes, &options(), None).unwrap().holds());
    let tail = bytes.len() - 300;
    let lengths = (0..tail).step_by(41).chain(tail..bytes.len());
    for length in lengths {
        let found = Verification::of_bytes(&bytes[..length], &options(), None);
        assert!(found.is_err(), "the first {length} of {} bytes pass", bytes.len());
    }
    verified(&bytes[..bytes.len() - 1], &[]).fails(2, &["m.onnx: not an ONNX model (is it complete?"]);
    verified(b"", &[]).fails(2, &["not an ONNX model"]);
}

#[test]
fn drift_beyond_the_tolerance_fails_and_a_larger_one_may_be_allowed() {
    let drifted = with_certificate(|certificate| {
        certificate.goldens[1].logits.iter_mut().for_each(|logit| *logit *= 1.001);
    });
    let parts = ["the logits differ from libtorch's by", "allowed 1e-4", "2 of 2", "farthest is image 2, "];
    verified(&drifted, &[]).fails(1, &parts);
    for tolerance in ["inf", "nan", "-1", "1e999"] {
        assert_eq!(verified(&drifted, &["--tolerance", tolerance]).code, 2, "{tolerance}");
    }
    assert_eq!(verified(&drifted, &["--tolerance", "1e-2"]).code, 0);
    let turned = with_certificate(|certificate| certificate.goldens[0].logits.reverse());
    verified(&turned, &[]).fails(1, &["1 of 2 images have the same class"]);
}

#[test]
fn images_that_come_out_otherwise_fail() {
    let swapped = with_certificate(|certificate| {
        certificate.goldens[0].image = certificate.goldens[1].image.clone();
    });
    verified(&swapped, &[]).fails(1, &["decoding and resizing differ by"]);
}

#[test]
fn certificates_that_cannot_be_used_say_why() {
    let without = Model::default().encoded_with(&[]);
    verified(&without, &[]).fails(2, &["m.onnx: has no certificate", "`train export` writes one"]);
    let damaged = |change: fn(&mut Certificate)| verified(&with_certificate(change), &[]);
    damaged(|certificate| certificate.goldens.clear())
        .fails(2, &["the certificate is damaged: it holds no images"]);
    damaged(|certificate| certificate.goldens[0].image.0.truncate(20)).fails(2, &["is damaged"]);
    damaged(|certificate| certificate.goldens[0].logits.truncate(1)).fails(2, &["is damaged: its logits"]);
    damaged(|certificate| certificate.goldens[0].prepared = certificate.goldens[0].image.clone())
        .fails(2, &["is damaged: an image of 24x20 for an input of 16x16"]);
    damaged(|certificate| certificate.format += 1).fails(2, &["has format 2", "update ferronnx"]);
    let text = Model::default().encoded_with(&[(CERTIFICATE_KEY, "{")]);
    verified(&text, &[]).fails(2, &["m.onnx: the certificate is not readable"]);
}

#[test]
fn scripts_read_json() {
    let said = verified(&with_card(|card| card.labels.swap(0, 2)), &["--format", "json"]);
    assert_eq!(said.code, 1);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((report["holds"].as_bool(), report["labels"].as_bool()), (Some(false), Some(false)));
    assert_eq!(report["preprocessing"], true);
    assert_eq!(report["failures"][0], "the labels or their order were changed");
    assert_eq!(report["agreement"]["pictures"], 2);
    assert_eq!((&report["arithmetic"], &report["precision"]), (&"full".into(), &"fp32".into()));
    assert_eq!((&report["tolerance"], &report["rms_tolerance"]), (&1e-4.into(), &5e-6.into()));
    assert_eq!(report["tolerance_reason"], "fp32 in full arithmetic");
    assert_eq!(
        (&report["cpu"], &report["exported_compared"]["device"]),
        (&serde_json::Value::Null, &"cpu".into())
    );
    assert_eq!(report["sha256"].as_str().unwrap().len(), 64);
    assert!(report["runtime"].as_str().unwrap().starts_with("ONNX Runtime 1."), "{}", report["runtime"]);
}

#[test]
fn the_model_and_the_device_are_chosen_as_everywhere() {
    let place = Workplace::without_model();
    Said::by(place.infer().arg("verify")).fails(2, &["there is no ./model.onnx", "--model"]);
    fs::write(place.path("model.onnx"), Model::default().certified()).unwrap();
    assert_eq!(Said::by(place.infer().arg("verify")).code, 0);
    Said::by(place.infer().args(["verify", "--device", "cuda:7"])).fails(2, &["--device cuda:7"]);
    let said = Said::by(place.infer().args(["verify", "--tolerance=-1"]));
    assert!(said.code == 2 && said.stderr.contains("not negative"), "{}", said.stderr);
}
