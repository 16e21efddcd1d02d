//! Tests of wrong models, runtimes, devices and flags: the error says what to do.

use std::fs;

use ferronnx_models::card::{CARD_KEY, InputForm, Precision};

use crate::support::{Model, RED, Said, Workplace, encoded, model_with};

fn with_model(content: &[u8]) -> Said {
    let place = Workplace::without_model();
    place.image("x.png", RED);
    fs::write(place.path("m.onnx"), content).unwrap();
    Said::by(place.infer().args(["classify", "x.png", "--model", "m.onnx"]))
}

#[test]
fn no_model() {
    let place = Workplace::without_model();
    Said::by(place.infer().args(["classify", "x.png"])).fails(2, &["./model.onnx", "--model", "INFER_MODEL"]);
    let said = Said::by(place.infer().args(["classify", "x.png", "--model", "gone.onnx"]));
    said.fails(2, &["error: gone.onnx: no such file", "--model"]);
}

#[test]
fn the_environment_names_the_model() {
    let place = Workplace::new();
    place.image("x.png", RED);
    fs::rename(place.path("model.onnx"), place.path("other.onnx")).unwrap();
    let said = Said::by(place.infer().args(["classify", "x.png"]).env("INFER_MODEL", "other.onnx"));
    assert_eq!(said.code, 0, "{}", said.stderr);
}

#[test]
fn no_onnx_model() {
    let whole = model_with(|_| {});
    for content in [&whole[..whole.len() / 2], b"", b"<html>404</html>", &[7; 1000]] {
        let size = format!("{} bytes", content.len());
        with_model(content).fails(2, &["error: m.onnx: not an ONNX model (is it complete?", &size]);
    }
    let place = Workplace::new();
    let said = Said::by(place.infer().args(["classify", "x.png", "--model", "."]));
    said.fails(2, &["error: .: is a folder"]);
}

#[test]
fn a_card_for_another_network() {
    let said = with_model(&model_with(|card| card.labels.push("fourth".into())));
    said.fails(2, &["m.onnx: gives [batch, 3], but there are 4 labels"]);
    let said = with_model(&model_with(|card| {
        (card.preprocessing.crop, card.preprocessing.resize) = (32.into(), 32.into());
    }));
    said.fails(2, &["takes floats [batch, 3, 16, 16], but images are prepared as floats [batch, 3, 32, 32]"]);
    let said = with_model(&model_with(|card| card.input = InputForm::Uint8));
    said.fails(2, &["takes floats [batch, 3, 16, 16], but images are prepared as bytes [batch, 16, 16, 3]"]);
    with_model(&encoded(&[(CARD_KEY, "{")])).fails(2, &["m.onnx: the model card is not readable"]);
}

#[test]
fn the_card_alone_says_how_a_file_is_fed() {
    let place = Workplace::new();
    for (name, color) in [("a.png", RED), ("b.png", [90, 140, 110]), ("c.png", [20, 10, 30])] {
        place.image(name, color);
    }
    let probabilities = |model: &[u8]| -> Vec<f64> {
        fs::write(place.path("model.onnx"), model).unwrap();
        let said = Said::by(place.infer().args(["classify", "--format", "json", "a.png", "b.png", "c.png"]));
        assert_eq!(said.code, 0, "{}", said.stderr);
        let images: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        let tops = images.as_array().unwrap().iter().map(|image| &image["predictions"][0]["probability"]);
        tops.map(|probability| probability.as_f64().unwrap()).collect()
    };
    let float = probabilities(&Model::of(InputForm::Float, Precision::Fp32).encoded_with(&[]));
    assert_eq!(
        float,
        probabilities(&Model::of(InputForm::Uint8, Precision::Fp32).encoded_with(&[])),
        "to the bit"
    );
    for input in [InputForm::Float, InputForm::Uint8] {
        for (half, float) in
            probabilities(&Model::of(input, Precision::Fp16).encoded_with(&[])).iter().zip(&float)
        {
            assert!((half - float).abs() < 2e-3, "{half} is not {float}");
        }
    }
}

#[test]
fn wrong_runtime() {
    let place = Workplace::new();
    place.image("x.png", RED);
    fs::write(place.path("lib.so"), "text").unwrap();
    fs::create_dir(place.path("empty")).unwrap();
    let with = |path: &str| Said::by(place.infer().args(["classify", "x.png", "--ort-lib", path]));
    with("lib.so").fails(2, &["lib.so: cannot be loaded", "cargo xtask setup", "--ort-lib"]);
    with("none.so").fails(2, &["error: none.so: no such file", "--ort-lib"]);
    with("empty").fails(2, &["error: empty: no ONNX Runtime in this folder"]);
    let said =
        Said::by(place.infer_without_runtime().args(["classify", "x.png"]).env("ORT_DYLIB_PATH", "none.so"));
    said.fails(2, &["error: none.so: no such file", "ORT_DYLIB_PATH"]);
}

#[cfg(target_os = "linux")]
#[test]
fn another_library_is_no_runtime() {
    let place = Workplace::new();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc =
        maps.lines().find_map(|line| line.split_whitespace().last().filter(|path| path.contains("/libc.so")));
    let said = Said::by(place.infer().args(["classify", "x.png", "--ort-lib", libc.unwrap()]));
    said.fails(2, &["libc.so", "is not ONNX Runtime", "cargo xtask setup"]);
}

/// An explicit device is refused, either because the runtime lacks CUDA or because there is no such GPU.
#[test]
fn an_explicit_device_never_falls_back() {
    let place = Workplace::new();
    place.image("x.png", RED);
    let said = Said::by(place.infer().args(["classify", "x.png", "--device", "cuda:7"]));
    said.fails(2, &["error: --device cuda:7: ", "or use --device cpu"]);
    let said = Said::by(place.infer().args(["classify", "x.png", "--device", "cpu"]));
    assert_eq!(said.code, 0, "{}", said.stderr);
}

#[test]
fn wrong_usage() {
    let place = Workplace::new();
    for args in [
        &["classify"][..],
        &["classify", "x.png", "--top-k", "0"],
        &["classify", "x", "--device", "tpu"],
        &[],
    ] {
        let said = Said::by(place.infer().args(args));
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{args:?}");
        assert!(!said.stderr.is_empty());
    }
    let help = Said::by(place.infer().args(["classify", "--help"]));
    assert!(help.code == 0 && help.stdout.contains("Examples:"), "{}", help.stdout);
}

#[test]
fn nothing_is_left_in_the_users_home() {
    let place = Workplace::new();
    place.image("x.png", RED);
    let home = tempfile::tempdir().unwrap();
    let mut command = place.infer();
    // Variables that would keep the telemetry of ONNX Runtime quiet without us.
    for name in ["ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    let said = Said::by(command.args(["classify", "x.png"]).env("HOME", home.path()));
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn shells_complete_every_command() {
    let place = Workplace::without_model();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let said = Said::by(place.infer_without_runtime().args(["completions", shell]));
        assert_eq!(said.code, 0, "{}", said.stderr);
        for command in ["classify", "evaluate", "bench", "explain", "inspect", "verify"] {
            assert!(said.stdout.contains(command), "{command} for {shell}");
        }
    }
}

#[test]
fn a_man_page_for_every_command() {
    let place = Workplace::without_model();
    let folder = tempfile::tempdir().unwrap();
    let said = Said::by(place.infer_without_runtime().arg("man").arg(folder.path()));
    assert_eq!(said.code, 0, "{}", said.stderr);
    let page = fs::read_to_string(folder.path().join("infer-classify.1")).unwrap();
    assert!(page.contains("infer") && page.contains("\\-\\-top\\-k"), "{page}");
    assert!(folder.path().join("infer.1").is_file() && folder.path().join("infer-man.1").is_file());

    let nowhere = folder.path().join("no/such/folder");
    let said = Said::by(place.infer_without_runtime().arg("man").arg(&nowhere));
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(said.stderr.contains(nowhere.to_str().unwrap()), "{}", said.stderr);
}

#[test]
fn every_command_has_examples() {
    let place = Workplace::without_model();
    for command in ["classify", "evaluate", "bench", "explain", "inspect", "verify", "completions"] {
        let said = Said::by(place.infer_without_runtime().args([command, "--help"]));
        assert!(said.stdout.contains(&format!("Examples:\n  infer {command}")), "{}", said.stdout);
    }
}
