//! `--channels gray`: training, pretrained weights and every form of export.

use std::fs;

use ferronnx_infer::results::Outcome;
use ferronnx_infer::{Classifier, Device};
use ferronnx_models::card::ColorOrder;
use predicates::prelude::*;
use predicates::str::contains;

use crate::common::colour_set;
use crate::{fit, stderr, train};

#[test]
fn a_gray_network_is_trained_resumed_and_exported_in_every_form() {
    let (dir, data) = colour_set();
    let at = |name: &str| dir.path().join(name);
    fs::write(
        at("all.toml"),
        "name = \"all\"\nbatch_size = 16\n[augment]\ncrop_padding = 0.125\nbrightness = 0.2\ncontrast = 0.2\n\
         saturation = 0.2\nhue = 0.1\nrotation = 15\nmixup = 0.2\n[[phase]]\nname = \"a\"\nepochs = 1\n\
         learning_rate = 1e-3\ntrain = [\"*\"]\n",
    )
    .unwrap();
    fit(dir.path())
        .args(["--channels", "gray", "--recipe", "all.toml", "--epochs", "1"])
        .assert()
        .success()
        .stdout(
            contains("3x3 stem, gray images, 3 classes")
                .and(contains("gray images have no hue and saturation")),
        );
    let config = fs::read_to_string(at("run/config.toml")).unwrap();
    assert!(config.contains("color = \"gray\"") && config.contains("channels = 1"), "{config}");
    fs::remove_file(at("run/result.json")).unwrap();
    train(dir.path()).args(["fit", "--resume", "run"]).assert().success();
    let mut expected: Option<f32> = None;
    for (precision, input) in [("fp32", "float"), ("fp16", "uint8"), ("int8", "float"), ("fp32", "uint8")] {
        let file = format!("{precision}-{input}.onnx");
        let forms = ["--precision", precision, "--input", input, "--attention-outputs", "-o", &file];
        train(dir.path())
            .args(["export", "run"])
            .args(forms)
            .assert()
            .success()
            .stdout(contains("agreement"));
        let classifier = Classifier::builder().device(Device::Cpu).load(at(&file)).unwrap();
        let preprocessing = &classifier.card().preprocessing;
        assert_eq!((preprocessing.color, preprocessing.mean.len()), (ColorOrder::Gray, 1));
        let Some(Outcome::Classified(found)) =
            classifier.classify_files([data.join("test/red/000.png")]).next()
        else {
            panic!("{file}")
        };
        let probability = found.predictions.iter().find(|found| found.label == "red").unwrap().probability;
        let difference = (probability - *expected.get_or_insert(probability)).abs();
        assert!(difference < if precision == "int8" { 0.2 } else { 0.01 }, "{file}: {difference}");
    }
    // A bare checkpoint says by the shape of its stem that it is for gray images.
    let best = at("run/best.safetensors");
    train(dir.path())
        .arg("export")
        .arg(&best)
        .args(["-o", "bare.onnx", "--image-size", "8"])
        .assert()
        .success()
        .stdout(contains("assumed     gray images of 8 pixels, mean [0.48"));
    train(dir.path()).arg("summary").arg(&best).assert().success().stdout(contains("at 1x32x32"));
    let error = stderr(train(dir.path()).arg("export").arg(&best).args([
        "--mean",
        "0.5,0.5,0.5",
        "--image-size",
        "8",
    ]));
    assert!(error.contains("--mean and --std"), "{error}");
}

#[test]
fn rgb_weights_are_summed_into_a_gray_stem() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--epochs", "1", "--out", "rgb"]).assert().success();
    fit(dir.path())
        .args(["--epochs", "1", "--channels", "gray", "--pretrained", "rgb/best.safetensors"])
        .assert()
        .success()
        .stdout(
            contains("summed over red, green and blue, for gray images: backbone.conv1.weight")
                .and(contains("new: none")),
        );
    // Not the other way: gray weights know no colours.
    let error = stderr(fit(dir.path()).args(["--out", "back", "--pretrained", "run/best.safetensors"]));
    assert!(error.contains("backbone.conv1.weight has shape [64, 1, 3, 3]"), "{error}");
    assert!(error.contains("are for gray images; --channels gray trains a network of one"), "{error}");
}
