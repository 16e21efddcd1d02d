//! Any number of labels an image, from `train fit` to the exported file; and imbalanced classes.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use ferronnx_infer::data_set::DataSet;
use ferronnx_infer::evaluate::MultiLabelEvaluation;
use ferronnx_infer::verify::Verification;
use ferronnx_infer::{Classifier, decode};
use ferronnx_models::card::{Activation, Threshold};
use ferronnx_report::multi_label::MultiLabel;
use ferronnx_train::run::{RunFolder, RunResult};
use image::{Rgb, RgbImage};
use predicates::prelude::*;
use predicates::str::{contains, is_empty};

use crate::common::colour_set;
use crate::{fit, stderr, train};

const CLASSES: [&str; 3] = ["blue", "green", "red"];

/// Recipe without augmentation, whose colour jitter would hide what is to be learned.
const PLAIN: &str = r#"
name = "plain"
batch_size = 8

[[phase]]
name = "all"
epochs = 8
learning_rate = 1e-3
train = ["@all"]
"#;

/// Writes images whose channels are bright for the classes that they have, and a list of them; every eighth has none.
fn colour_mixtures(dir: &Path) {
    fs::create_dir(dir.join("images")).unwrap();
    let mut list = String::from("path,label,split\n");
    for index in 0..96_u32 {
        let is = |class: u32| index & (1 << class) != 0;
        let image = RgbImage::from_fn(8, 8, |x, y| {
            let noise = ((x * 7 + y * 13 + index * 29) % 60) as u8;
            Rgb([2, 1, 0].map(|class| if is(class) { 180 + noise } else { noise }))
        });
        image.save(dir.join(format!("images/{index:03}.png"))).unwrap();
        let labels: Vec<&str> =
            (0..3).filter(|&class| is(class)).map(|class| CLASSES[class as usize]).collect();
        let split = if index < 64 { "train" } else { "test" };
        writeln!(list, "images/{index:03}.png,{},{split}", labels.join(";")).unwrap();
    }
    fs::write(dir.join("list.csv"), list).unwrap();
    fs::write(dir.join("plain.toml"), PLAIN).unwrap();
}

fn fit_list(dir: &Path) -> assert_cmd::Command {
    let mut command = fit(dir);
    command.args(["--data", "list.csv", "--recipe", "plain.toml", "--epochs", "8", "--batch-size", "8"]);
    command
}

/// Scores of an exported model on the test images of the list.
fn evaluated(model: &Path, list: &Path) -> MultiLabel {
    let classifier = Classifier::builder().top_k(usize::MAX).load(model).unwrap();
    let data = DataSet::open(list).unwrap();
    let (_, images) = data.held_out().unwrap();
    let samples = data.label_sets(&images, &classifier.card().labels).unwrap();
    MultiLabelEvaluation::run(&classifier, &samples, |_| ()).unwrap().metrics()
}

#[test]
fn several_labels_are_learned_exported_and_selected() {
    let dir = tempfile::tempdir().unwrap();
    colour_mixtures(dir.path());
    let error = stderr(&mut fit_list(dir.path()));
    assert!(error.contains("line 2 has no label; --multi-label trains on"), "{error}");
    fit_list(dir.path()).arg("--multi-label").assert().success().stderr(is_empty()).stdout(
        contains("label acc").and(contains("mAP")).and(contains("test mAP")).and(contains("of 32 images")),
    );

    let run = dir.path().join("run");
    let (folder, config) = RunFolder::open(&run).unwrap();
    assert!(fs::read_to_string(run.join("config.toml")).unwrap().contains("task = \"multi-label\""));
    assert!(folder.metrics().unwrap().iter().all(|epoch| epoch.validation_map.is_some()));
    let result: RunResult = folder.result().unwrap().unwrap();
    let thresholds = result.thresholds.clone().unwrap();
    assert_eq!(thresholds.len(), 3);
    let best = folder.metrics().unwrap().iter().filter_map(|epoch| epoch.validation_map).fold(0.0, f64::max);
    assert_eq!(result.validation_map, Some(best), "mAP chooses the best epoch");
    assert!(result.test_map.unwrap() > 0.9, "colours are easy: {result:?}");
    let table = fs::read_to_string(run.join("predictions.csv")).unwrap();
    assert!(table.starts_with("path,label,predicted,probability of blue,"), "{table}");
    assert!(
        table.contains("images/064.png,,") && table.contains("images/071.png,blue;green;red,"),
        "{table}"
    );
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for text in ["Test mAP", "threshold", "Mean average precision, %", "Label accuracy, %"] {
        assert!(page.contains(text), "{text}");
    }

    let compared = train(dir.path()).args(["compare", "run", "--format", "json"]).output().unwrap();
    let compared: serde_json::Value = serde_json::from_slice(&compared.stdout).unwrap();
    let compared = &compared["runs"][0];
    assert_eq!(compared["validation_map"].as_f64(), result.validation_map);
    assert_eq!(compared["test_map"].as_f64(), result.test_map);
    assert_eq!(compared["macro_f1"].as_f64(), result.test_macro_f1);
    assert_eq!((compared["test_images"].as_u64(), compared["test_interval"].is_null()), (Some(32), true));

    for form in [&[][..], &["--precision", "fp16"], &["--precision", "int8", "--input", "uint8"]] {
        train(dir.path())
            .args(["export", "run", "-o", "model.onnx"])
            .args(form)
            .assert()
            .success()
            .stdout(contains("likeliest label").and(contains("accuracy").not()));
        let model = dir.path().join("model.onnx");
        let verification = Verification::of_file(&model, &Default::default(), None).unwrap();
        assert_eq!(verification.failures(), [""; 0]);
        let found = evaluated(&model, &dir.path().join("list.csv"));
        // The numbers of the file are those of libtorch; in integers, nearly so.
        let allowed = if form.contains(&"int8") { 0.05 } else { 1e-9 };
        let close =
            |found: f64, right: f64| assert!((found - right).abs() <= allowed, "{form:?}: {found} {right}");
        close(found.mean_average_precision.unwrap(), result.test_map.unwrap());
        close(found.macro_average.f1, result.test_macro_f1.unwrap());
        close(1.0 - found.hamming_loss, result.test_accuracy.unwrap());
    }

    train(dir.path()).args(["export", "run", "-o", "model.onnx"]).assert().success();
    let classifier = Classifier::builder().load(dir.path().join("model.onnx")).unwrap();
    let card = classifier.card();
    assert_eq!((card.activation, &card.labels), (Activation::Sigmoid, &config.labels));
    assert_eq!(card.threshold, Some(Threshold::Each(thresholds.clone())));
    assert_eq!(card.training.as_ref().unwrap().test_map, result.test_map);
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let image = decode::file(dir.path().join(fields[0])).unwrap();
        let mut selected: Vec<_> = classifier.classify(&image).unwrap();
        selected.retain(|prediction| prediction.selected == Some(true));
        selected.sort_by_key(|prediction| prediction.index);
        let names: Vec<&str> = selected.iter().map(|prediction| prediction.label.as_str()).collect();
        assert_eq!(names.join(";"), fields[2], "{}", fields[0]);
    }

    // Thresholds move with the logits, so the same labels are selected.
    if let Some(scaling) = result.temperature_scaling {
        train(dir.path()).args(["export", "run", "-o", "even.onnx", "--calibrate"]).assert().success();
        let even = Classifier::builder().load(dir.path().join("even.onnx")).unwrap();
        assert_eq!(even.card().temperature_scaling, Some(scaling));
        assert_ne!(even.card().threshold, Some(Threshold::Each(thresholds)));
        let found = evaluated(&dir.path().join("even.onnx"), &dir.path().join("list.csv"));
        assert!((1.0 - found.hamming_loss - result.test_accuracy.unwrap()).abs() < 1e-9, "{found:?}");
    }
}

#[test]
fn an_image_in_several_class_folders_has_all_their_labels() {
    let (dir, data) = colour_set();
    for index in 0..6 {
        let image = data.join(format!("train/red/{index:03}.png"));
        fs::copy(image, data.join(format!("train/blue/red-{index}.png"))).unwrap();
    }
    fit(dir.path())
        .args(["--multi-label", "--epochs", "1", "--class-weights", "balanced", "--loss", "focal"])
        .assert()
        .success()
        .stdout(
            contains("6 images lie in several class folders (12 files)")
                .and(contains("weights of images with the class from")),
        );
    let (_, config) = RunFolder::open(dir.path().join("run")).unwrap();
    assert_eq!(config.labels, ["blue", "green", "red"]);
    fit(dir.path()).args(["--out", "single", "--epochs", "1"]).assert().success();
    train(dir.path())
        .args(["compare", "run", "single"])
        .assert()
        .success()
        .stdout(contains("the tasks are not the same").and(contains("mAP ")));
    // The state of a run that was stopped has no thresholds yet: 0.5.
    fs::remove_file(dir.path().join("run/result.json")).unwrap();
    let exported = |source: &str, said: &str| {
        let arguments = ["export", source, "-o", "model.onnx", "--image-size", "8"];
        let arguments = if source == "run" { &arguments[..4] } else { &arguments[..] };
        train(dir.path()).args(arguments).assert().success().stdout(contains(said));
        Classifier::builder().load(dir.path().join("model.onnx")).unwrap().card().clone()
    };
    let stopped = exported("run", "thresholds  0.5 for every class");
    assert_eq!(stopped.threshold, Some(Threshold::All(0.5)));
    let error = stderr(train(dir.path()).args(["export", "run", "--calibrate"]));
    assert!(error.contains("the run was stopped"), "{error}");
    // Weights do not say the task, their run does.
    for weights in ["run/best.safetensors", "run/last/weights.safetensors"] {
        let card = exported(weights, "several an image, as run/config.toml says");
        assert_eq!((card.activation, &card.threshold), (Activation::Sigmoid, &stopped.threshold));
    }
    fs::copy(dir.path().join("run/best.safetensors"), dir.path().join("bare.safetensors")).unwrap();
    let card = exported("bare.safetensors", "assumed     one label an image; --multi-label is for several");
    assert_eq!((card.activation, card.threshold), (Activation::Softmax, None));
    train(dir.path())
        .args(["export", "bare.safetensors", "-o", "model.onnx", "--image-size", "8", "--multi-label"])
        .assert()
        .success();
    let classifier = Classifier::builder().load(dir.path().join("model.onnx")).unwrap();
    assert_eq!(classifier.card().threshold, stopped.threshold);
    let error = stderr(train(dir.path()).args(["export", "run", "--multi-label"]));
    assert!(error.contains("--multi-label is for bare checkpoints"), "{error}");
}

#[test]
fn imbalance_is_said_and_settings_that_do_not_fit_are_refused() {
    let (dir, data) = colour_set();
    for index in 4..14 {
        fs::remove_file(data.join(format!("train/red/{index:03}.png"))).unwrap();
    }
    let balance = ["--class-weights", "balanced", "--sampling", "balanced", "--loss", "focal"];
    fit(dir.path()).args(balance).args(["--epochs", "1"]).assert().success().stdout(
        contains("note        class weights from 0.744 (blue) to 3.22 (red)")
            .and(contains("an image of red (the rarest, 3 images) is drawn")),
    );
    let (_, config) = RunFolder::open(dir.path().join("run")).unwrap();
    assert!(toml::to_string(&config.recipe).unwrap().contains("sampling = \"balanced\""));

    let refused = |flags: &[&str]| stderr(fit(dir.path()).args(["--out", "other"]).args(flags));
    assert!(refused(&["--class-weights", "cow=2"]).contains("class weights name cow (the classes are blue"));
    assert!(refused(&["--class-weights", "red=0"]).contains("loss.class_weights.red must be positive"));
    fit(dir.path()).args(["--class-weights", "red"]).assert().code(2).stderr(contains("CLASS=WEIGHT"));
    let recipe = |line: &str, flags: &[&str]| {
        let text = format!(
            "batch_size = 8\nname = \"mine\"\n{line}\n[[phase]]\nname = \"all\"\nepochs = 1\nlearning_rate = 1e-3\ntrain = [\"@all\"]\n"
        );
        fs::write(dir.path().join("mine.toml"), text).unwrap();
        stderr(fit(dir.path()).args(["--out", "other", "--recipe", "mine.toml"]).args(flags))
    };
    assert!(recipe("best = \"map\"", &[]).contains("accuracy, macro-f1 or loss for one label"));
    assert!(recipe("best = \"accuracy\"", &["--multi-label"]).contains("map, macro-f1 or loss for several"));
    assert!(recipe("loss = { gamma = 2.0 }", &[]).contains("belongs to the focal loss"));
    assert!(!dir.path().join("other").exists(), "nothing was begun");
}
