//! Checkpoints of PyTorch in training and export; the reader's own tests are `models/tests/checkpoints.rs`.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;
#[path = "../../models/tests/checkpoints/unpacked.rs"]
mod unpacked;

use std::fs;
use std::io::{Cursor, Write};

use assert_cmd::Command;
use common::{colour_set, golden, params, relative_difference, tensor};
use ferronnx_models::checkpoint;
use ferronnx_models::networks::{Architecture, Classifier, Stem};
use ferronnx_models::{Module, Weights, testing};
use ferronnx_train::eager::Eager;
use ferronnx_train::params::to_array;
use ndarray::{ArrayD, Axis, Slice};
use predicates::prelude::*;
use predicates::str::contains;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use unpacked::file;

/// Makes a `.pth` of the whole reference. The pickle is PyTorch's; the values are made here, so that 45 MB need not be
/// kept.
fn reference(weights: &Weights) -> Vec<u8> {
    archive(&fs::read(file("reference.pkl")).unwrap(), weights)
}

/// Makes a `.pth` of the reference with another pickle around the state dict.
fn archive(pickle: &[u8], weights: &Weights) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: String, bytes: &[u8]| {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    };
    add("archive/data.pkl".into(), pickle);
    for (key, name) in fs::read_to_string(file("reference.txt")).unwrap().lines().enumerate() {
        let bytes = match weights.get(name) {
            Some(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            None => 7_i64.to_le_bytes().to_vec(), // num_batches_tracked
        };
        add(format!("archive/data/{key}"), &bytes);
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_pth_of_the_reference_gives_the_logits_of_the_reference() {
    let network = Classifier::new(&Architecture::default()).unwrap();
    let shape = [5, 3, 32, 32];
    let weights = testing::weights(&network, &shape).unwrap();
    let loaded = checkpoint::read(&reference(&weights)).unwrap();
    assert_eq!(loaded.len(), weights.len());
    assert_eq!(Architecture::of(&loaded).unwrap(), Architecture::default());

    let first = |array: &ArrayD<f32>| array.slice_axis(Axis(0), Slice::from(..1)).to_owned();
    let (x, y) = (first(&testing::input(&shape)), first(&golden("network.cifar")));
    let _guard = tch::no_grad_guard();
    let params = params(&network, &[1, 3, 32, 32], &loaded);
    let logits = to_array(&network.forward(&Eager::eval(&params), &tensor(&x)).unwrap()).unwrap();
    let difference = relative_difference(&logits, &y);
    assert!(difference <= 1e-5, "differs by {difference:e}");
}

#[test]
fn the_binary_takes_a_pth_wherever_it_takes_weights() {
    let (dir, _) = colour_set();
    let train = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command.current_dir(dir.path()).args(arguments);
        command.assert()
    };
    let network = Classifier::new(&Architecture::default()).unwrap();
    let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    fs::write(dir.path().join("reference.pth"), reference(&weights)).unwrap();
    train(&["export", "reference.pth", "--image-size", "16"])
        .success()
        .stdout(contains("ratio 16, kernel 7").and(contains("3x3 stem, 10 classes")));

    let fit = ["fit", "--data", "colours", "--image-size", "8", "--epochs", "1", "--device", "cpu"];
    let started = train(&[&fit[..], &["--pretrained", "reference.pth", "--out", "run"]].concat()).success();
    started.stdout(
        contains("112 tensors loaded")
            .and(contains("new: backbone.fc.weight, backbone.fc.bias\n"))
            .and(contains("ignored: backbone.fc.weight, backbone.fc.bias\n")),
    );

    fs::copy(file("hostile-os.pth"), dir.path().join("hostile.pth")).unwrap();
    let refused = contains(
        "hostile.pth is not a checkpoint: it holds no tensors, but objects of os.system (nothing was run)",
    );
    train(&["export", "hostile.pth"]).code(2).stderr(refused.clone());
    train(&[&fit[..], &["--pretrained", "hostile.pth", "--out", "other"]].concat()).code(2).stderr(refused);
}

/// `{"epoch": 3, "args": Namespace(lr=1), KEY: [state dict]}`, as scripts save it.
fn nested(key: &str) -> Vec<u8> {
    let state = fs::read(file("reference.pkl")).unwrap();
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let arguments = [&b"cargparse\nNamespace\n)\x81}"[..], &text("lr"), b"K\x01sb"].concat();
    let entries = [&text("epoch")[..], b"K\x03", &text("args"), &arguments, &text(key), b"]"].concat();
    // Without the version at its start and the stop at its end.
    [b"\x80\x02}(", &entries[..], &state[2..state.len() - 1], b"au."].concat()
}

#[test]
fn every_form_of_a_checkpoint_exports_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let network = Classifier::new(&Architecture::default()).unwrap();
    let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let prefixed = |prefix: &str| -> Vec<(String, ArrayD<f32>)> {
        weights.iter().map(|(name, values)| (format!("{prefix}{name}"), values.clone())).collect()
    };
    let path = |name: &str| dir.path().join(name);
    fs::write(path("plain.pth"), reference(&weights)).unwrap();
    fs::write(path("nested.pth"), archive(&nested("anything"), &weights)).unwrap();
    checkpoint::save(&prefixed("model._orig_mod.").into_iter().collect(), path("lightning.safetensors"))
        .unwrap();
    let twice = prefixed("model.").into_iter().chain(prefixed("model_ema.")).collect();
    checkpoint::save(&twice, path("average.safetensors")).unwrap();
    fs::create_dir(path("hub")).unwrap();
    checkpoint::save(&weights, path("hub/model.safetensors")).unwrap();

    let export = |form: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        let arguments = ["export", "--image-size", "16"].into_iter().chain(form.split(' '));
        let output = command.current_dir(dir.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{form}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let line =
        |text: &str, start: &str| text.lines().find(|line| line.starts_with(start)).map(ToOwned::to_owned);
    let plain = export("plain.pth");
    assert_eq!((line(&plain, "tensors"), line(&plain, "passed")), (None, None));
    assert!(line(&plain, "assumed").unwrap().contains("no max pool"));
    for (form, tensors, others) in [
        ("nested.pth", Some("tensors     114 under anything.0."), None),
        ("lightning.safetensors", Some("tensors     114 under model._orig_mod."), None),
        (
            "average.safetensors",
            Some("tensors     114 under model_ema."),
            Some("also there  model.: a whole network, passed over; --key KEY takes it"),
        ),
        ("hub", None, None),
        ("average.safetensors --key model", Some("tensors     114 under model."), None),
    ] {
        let text = export(form);
        assert_eq!(line(&text, "certificate"), line(&plain, "certificate"), "{form}");
        assert_eq!(line(&text, "tensors").as_deref(), tensors, "{form}");
        assert_eq!(line(&text, "also there").as_deref(), others, "{form}");
    }
}

#[test]
fn layers_beside_the_network_are_left_out_by_name_only() {
    let dir = tempfile::tempdir().unwrap();
    let network = Classifier::new(&Architecture::default()).unwrap();
    let mut weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    weights.insert("projector.weight".into(), ArrayD::zeros(vec![4, 4]));
    checkpoint::save(&weights, dir.path().join("a.safetensors")).unwrap();
    let export = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command
            .current_dir(dir.path())
            .args(["export", "a.safetensors", "--image-size", "16"])
            .args(arguments)
            .assert()
    };
    let why = contains(
        "1 tensors of the same state dict, such as projector.weight, belong to layers that this network",
    );
    export(&[]).code(2).stderr(why.and(contains("--leave-out PATTERN")));
    assert!(!dir.path().join("model.onnx").exists());
    export(&["--leave-out", "projector.*"]).success().stdout(contains("passed over projector.weight"));
}

#[test]
fn weights_with_the_bare_names_of_torchvision_are_exported() {
    let dir = tempfile::tempdir().unwrap();
    let plain = Architecture { classes: 7, stem: Stem::Imagenet, attention: None, ..Architecture::default() };
    let weights = testing::weights(&Classifier::new(&plain).unwrap(), &[1, 3, 64, 64]).unwrap();
    let bare =
        weights.into_iter().map(|(name, values)| (name.replacen("backbone.", "", 1), values)).collect();
    checkpoint::save(&bare, dir.path().join("resnet18.safetensors")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_train"))
        .current_dir(dir.path())
        .args(["export", "resnet18.safetensors", "--image-size", "64"])
        .assert()
        .success()
        .stdout(contains("network     resnet18, 7x7 stem, 7 classes"));
}
