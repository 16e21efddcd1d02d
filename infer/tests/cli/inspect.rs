//! Tests of `infer inspect` with models that run and that do not.

use std::fs;

use ferronnx_models::card::{CalibrationErrors, InputForm, Precision, TemperatureScaling};
use serde_json::Value;

use crate::support::{Model, Said, Workplace, encoded};

fn inspected(content: &[u8], args: &[&str]) -> Said {
    let place = Workplace::without_model();
    fs::write(place.path("m.onnx"), content).unwrap();
    Said::by(place.infer().args(["inspect", "--model", "m.onnx"]).args(args))
}

#[test]
fn everything_about_a_file_fits_a_terminal() {
    let said = inspected(&Model::of(InputForm::Uint8, Precision::Fp32).certified(), &[]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let lines: Vec<_> = said
        .stdout
        .lines()
        .filter(|line| !line.starts_with("model") && !line.starts_with("written by"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    opset          ai.onnx 17, IR 8
    input          input uint8 [batch, 16, 16, 3]
    output         logits float32 [batch, 3]
    parameters     58
    weights        232 bytes of float32 (6 tensors)
    operators      10: 2 Div, 1 Transpose, 1 Cast, 1 Sub, 1 Conv, 1 Relu, 1
                   GlobalAveragePool, 1 Flatten, 1 Gemm
    runs on        10 operators on CPUExecutionProvider
    classes        3: red, green, blue
    images         RGB, shorter side to 16 (bilinear, antialiased), centre 16x16,
                   mean 0 0 0, std 1 1 1
    precision      fp32
    made           2026-01-01T00:00:00Z by test
    certificate    yes: `infer verify` recomputes it
    "#);
}

#[test]
fn an_empty_file_is_no_model() {
    inspected(b"", &[]).fails(2, &["m.onnx: not an ONNX model (is it complete? 0 bytes)"]);
}

#[test]
fn a_model_may_stand_without_its_flag() {
    let place = Workplace::without_model();
    fs::write(place.path("m.onnx"), Model::default().certified()).unwrap();
    for command in [&["inspect"][..], &["verify"], &["bench", "--seconds", "0.01", "--warm-up", "0"]] {
        let said = Said::by(place.infer().args(command).arg("m.onnx"));
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert!(said.stdout.contains("m.onnx"), "{}", said.stdout);
        let said = Said::by(place.infer().args(command).args(["m.onnx", "--model", "m.onnx"]));
        said.fails(2, &["cannot be used with '--model <FILE>'"]);
        Said::by(place.infer().args(command).arg("other.onnx")).fails(2, &["other.onnx"]);
    }
}

#[test]
fn json_has_the_same() {
    let said = inspected(&Model::default().certified(), &["--format", "json"]);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["graph"]["operators"]["Conv"], 1);
    assert_eq!(found["graph"]["inputs"][0]["shape"][0], "batch");
    assert_eq!(found["card"]["labels"][2], "blue");
    assert_eq!(found["certificate"], true);
    let nodes = found["graph"]["nodes"].as_u64().unwrap();
    assert!(found["placement"]["CPUExecutionProvider"].as_u64().unwrap() >= nodes);
}

#[test]
fn a_temperature_in_the_logits_is_shown() {
    let mut model = Model::default();
    model.card.temperature_scaling = Some(TemperatureScaling {
        temperature: 1.25,
        validation: CalibrationErrors { images: 500, before: 0.0712, after: 0.0123 },
        test: Some(CalibrationErrors { images: 1000, before: 0.08, after: 0.02 }),
    });
    let said = inspected(&model.certified(), &[]);
    let words: Vec<_> = said.stdout.split_whitespace().collect();
    let expected = "calibrated temperature 1.2500, expected calibration error 7.12 % before, 1.23 % after, on 500 \
                    validation images; expected calibration error 8.00 % before, 2.00 % after, on 1000 test images";
    assert!(words.join(" ").contains(expected), "{}", said.stdout);
    let said = inspected(&model.certified(), &["--format", "json"]);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["card"]["temperature_scaling"]["validation"]["images"], 500);
}

#[test]
fn a_file_that_does_not_run_here_is_shown_all_the_same() {
    let content = Model::default().encoded_with(&[]);
    let said = inspected(&content, &["--device", "cuda"]);
    said.fails(1, &["it does not run here", "no CUDA provider", "--device cpu"]);
    assert!(
        said.stdout.contains("red, green, blue") && said.stdout.contains("nothing here"),
        "{}",
        said.stdout
    );

    let place = Workplace::without_model();
    fs::write(place.path("m.onnx"), &content).unwrap();
    fs::create_dir(place.path("empty")).unwrap();
    let args = ["inspect", "--model", "m.onnx", "--ort-lib", "empty", "--format", "json"];
    let said = Said::by(place.infer_without_runtime().args(args));
    said.fails(1, &["no ONNX Runtime in this folder"]);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["no_session"]["kind"], "runtime");
    assert_eq!(found["card"]["labels"][0], "red");
}

#[test]
fn a_file_of_other_tools_has_no_card() {
    let said = inspected(&encoded(&[("names", "{0: 'a'}")]), &[]);
    assert_eq!(said.code, 0);
    assert!(said.stdout.contains("there is none (`ferronnx.card`)"), "{}", said.stdout);
    inspected(b"text", &[]).fails(2, &["m.onnx", "not an ONNX model", "4 bytes"]);
}
