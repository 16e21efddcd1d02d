//! Tests of `infer triton-repo`: contents of the repository, and what is refused.

use std::fs;
use std::path::Path;

use ferronnx_models::card::{InputForm, Precision};

use crate::support::{self, Model, Said, Workplace, model_with};

fn made(place: &Workplace, args: &[&str]) -> Said {
    Said::by(place.infer().arg("triton-repo").args(args).args(["--out", "repo"]))
}

/// Names of everything in `folder`, sorted.
fn listed(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_model_with_its_labels() {
    let place = Workplace::without_model();
    let certified = Model::of(InputForm::Uint8, Precision::Fp32).certified();
    fs::write(place.path("model.onnx"), &certified).unwrap();
    let said = made(&place, &["colors=model.onnx", "--max-batch", "16"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "repo/colors: version 1\n"), "{}", said.stderr);
    assert!(said.stderr.contains("note: repo/colors: clients decode and resize images"), "{}", said.stderr);
    assert!(!said.stderr.contains("certificate"), "{}", said.stderr);
    assert_eq!(listed(&place.path("repo")), ["colors"]);
    assert_eq!(listed(&place.path("repo/colors")), ["1", "config.pbtxt", "labels.txt"]);
    assert_eq!(fs::read(place.path("repo/colors/1/model.onnx")).unwrap(), certified);
    assert_eq!(fs::read_to_string(place.path("repo/colors/labels.txt")).unwrap(), "red\ngreen\nblue\n");
    insta::assert_snapshot!(fs::read_to_string(place.path("repo/colors/config.pbtxt")).unwrap(), @r#"
    # Written by `infer triton-repo`.
    name: "colors"
    platform: "onnxruntime_onnx"
    max_batch_size: 16
    input [
      {
        name: "input"
        data_type: TYPE_UINT8
        dims: [ 16, 16, 3 ]
      }
    ]
    output [
      {
        name: "logits"
        data_type: TYPE_FP32
        dims: [ 3 ]
        label_filename: "labels.txt"
      }
    ]
    dynamic_batching { }
    "#);
}

#[test]
fn several_versions_and_models() {
    let place = Workplace::new();
    fs::write(place.path("new.onnx"), Model::default().encoded_with(&[("run", "2")])).unwrap();
    let said = made(&place, &["a:1=model.onnx", "a:12=new.onnx", "new.onnx"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "repo/a: versions 1, 12\nrepo/new: version 1\n"));
    assert!(said.stderr.contains("note: repo/a: has no certificate"), "{}", said.stderr);
    let config = fs::read_to_string(place.path("repo/a/config.pbtxt")).unwrap();
    assert!(config.contains("version_policy { all { } }"), "{config}");
    let [old, new] = ["1", "12"].map(|version| place.path("repo/a").join(version).join("model.onnx"));
    assert_ne!(fs::read(old).unwrap(), fs::read(new).unwrap());

    // Version 1 would be lost.
    let said = made(&place, &["a:12=new.onnx"]);
    said.fails(2, &["repo/a holds `1`, which would be lost", "--force"]);
    assert_eq!(listed(&place.path("repo/a")), ["1", "12", "config.pbtxt", "labels.txt"]);
    assert_eq!(made(&place, &["a:12=new.onnx", "--force"]).code, 0);
    assert_eq!(listed(&place.path("repo/a")), ["12", "config.pbtxt", "labels.txt"]);
    assert_eq!(made(&place, &["a:12=new.onnx"]).code, 0, "the same again");
}

#[test]
fn folders_of_others_are_left_alone() {
    let place = Workplace::new();
    fs::create_dir_all(place.path("repo/model/1")).unwrap();
    fs::write(place.path("repo/model/config.pbtxt"), "platform: \"tensorrt_plan\"").unwrap();
    made(&place, &["model.onnx"]).fails(2, &["repo/model exists, and is not a folder that", "--force"]);
    assert_eq!(listed(&place.path("repo/model/1")), [""; 0]);
    assert_eq!(made(&place, &["model.onnx", "--force"]).code, 0);
    assert_eq!(listed(&place.path("repo/model/1")), ["model.onnx"]);
}

#[test]
fn nothing_is_written_when_a_model_is_refused() {
    let place = Workplace::new();
    let two_lines = |card: &mut ferronnx_models::card::ModelCard| card.labels[1] = "a\nb".into();
    fs::write(place.path("lines.onnx"), model_with(two_lines)).unwrap();
    fs::write(place.path("other.onnx"), model_with(|card| card.labels[1] = "other".into())).unwrap();
    fs::write(place.path("text.onnx"), "no model").unwrap();
    let mut changed = Model::default();
    let certificate = changed.certificate().to_json();
    changed.card.labels.reverse();
    let changed = changed.encoded_with(&[("ferronnx.certificate", &certificate)]);
    fs::write(place.path("changed.onnx"), changed).unwrap();
    for (models, parts) in [
        (&["model.onnx", "lines.onnx"][..], &["lines.onnx: the label `a\\nb`", "line by line"][..]),
        (&["a:1=model.onnx", "a:2=other.onnx"], &["model.onnx and other.onnx", "labels differ"]),
        (&["model.onnx", "text.onnx"], &["text.onnx: not an ONNX model"]),
        (&["changed.onnx"], &["changed.onnx: the certificate does not hold", "labels"]),
        (&["..=model.onnx"], &["`..`: names"]),
        (&["a/../../b=model.onnx"], &["`a/../../b`: names"]),
        (&["=model.onnx"], &["``: names"]),
        (&[".a=model.onnx"], &["`.a` cannot name a model in Triton", "NAME=MODEL"]),
        (&["a:v2=model.onnx"], &["version `v2` of a"]),
        (&["a:0=model.onnx"], &["version `0` of a"]),
        (&["a:01=model.onnx"], &["version `01` of a"]),
        (&["model.onnx", "model.onnx"], &["version 1 of model is given twice"]),
        (&["none.onnx"], &["none.onnx: no such file"]),
    ] {
        made(&place, models).fails(2, parts);
        let left = fs::read_dir(place.path("repo")).map(Iterator::count).unwrap_or(0);
        assert_eq!(left, 0, "{models:?}");
    }
}

#[test]
fn models_of_other_tools() {
    let place = Workplace::without_model();
    let foreign = support::foreign();
    let model = |name: &str| foreign.path().join(name).display().to_string();
    for (name, in_config, note) in [
        (
            "batch_4",
            &["max_batch_size: 0", "[ 4, 3, 16, 16 ]", "[ 4, 5 ]", "label_filename"][..],
            "makes no batches",
        ),
        ("binary", &["max_batch_size: 8", "dims: [ 1 ]"], "one score stands for two classes"),
        ("binary_flat", &["dims: [ 1 ]\n    reshape { shape: [ ] }"], "one score stands for two classes"),
        ("no_names", &["dims: [ 5 ]"], "has no labels"),
        ("double", &["TYPE_FP64", "label_filename"], "clients decode, resize and normalise"),
        ("fp16", &["TYPE_FP16", "label_filename"], "has no certificate"),
        ("output_4d", &["[ 5, 1, 1 ]", "label_filename"], "has no certificate"),
        ("label_first", &["dims: [ 5 ]", "label_filename"], "are left out: v3"),
    ] {
        let said = made(&place, &[&model(&format!("{name}.onnx"))]);
        assert_eq!(said.code, 0, "{name}: {}", said.stderr);
        assert!(said.stderr.contains(note), "{name}: {}", said.stderr);
        let config = fs::read_to_string(place.path(&format!("repo/{name}/config.pbtxt"))).unwrap();
        for part in in_config {
            assert!(config.contains(part), "{name}: `{part}` is not in:\n{config}");
        }
        let labelled = place.path(&format!("repo/{name}/labels.txt")).exists();
        assert_eq!(config.contains("label_filename"), labelled, "{name}");
    }
    let said = made(&place, &[&model("sklearn_logistic_zipmap.onnx")]);
    said.fails(2, &["sklearn_logistic_zipmap.onnx: gives maps (`ZipMap`)", "tensors only"]);
}
