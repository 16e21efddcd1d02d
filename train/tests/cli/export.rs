//! `train export`: correct files and refused arguments.

use std::fs;
use std::path::Path;

use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_infer::results::Outcome;
use ferronnx_infer::session::Options;
use ferronnx_infer::verify::Verification;
use ferronnx_infer::{Classifier, Device};
use ferronnx_models::card::{CARD_KEY, ModelCard, OutputRole};
use ferronnx_models::checkpoint;
use ferronnx_models::networks::{self, Architecture};
use ferronnx_models::onnx::{Interface, values};
use ferronnx_models::testing;
use ferronnx_train::eager::Eager;
use ferronnx_train::params::to_array;
use ndarray::{Array2, Axis, Ix1, Ix2};
use predicates::prelude::*;
use predicates::str::{contains, is_empty};

use crate::common::{COLOURS, colour_set, colours, params, relative_difference, tensor};
use crate::{fit, stderr, train};

#[test]
fn fit_export_and_classify_agree_image_by_image() {
    let (dir, _) = colour_set();
    fit(dir.path())
        .assert()
        .success()
        .stdout(contains("test accuracy").and(contains("epoch 3/3")).and(contains("recipe      one-cycle")))
        .stderr(is_empty());
    let run = dir.path().join("run");
    for file in [
        "config.toml",
        "plan.json",
        "metrics.jsonl",
        "best.safetensors",
        "last/state.json",
        "result.json",
        "report.html",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 3);
    for key in ["epoch", "phase", "learning_rates", "train_loss", "validation_accuracy", "images_per_second"]
    {
        assert!(metrics.lines().all(|line| line.contains(&format!("\"{key}\":"))), "{key}");
    }

    train(dir.path())
        .args(["export", "run", "-o", "model.onnx"])
        .assert()
        .success()
        .stdout(contains("top-1 3 of 3").and(contains("validation images")));

    let classifier = Classifier::builder().device(Device::Cpu).load(dir.path().join("model.onnx")).unwrap();
    assert_eq!(classifier.card().labels, COLOURS.map(|(class, _)| class));
    assert!(classifier.card().training.as_ref().unwrap().test_accuracy.is_some());
    let metadata = |key: &str| classifier.session().metadata(key).unwrap();
    assert_eq!(metadata("names"), "{0: 'blue', 1: 'green', 2: 'red'}");
    assert_eq!(metadata("class_names"), r#"["blue","green","red"]"#);
    assert!(!classifier.card().to_json().contains(dir.path().to_str().unwrap()), "no path of this machine");

    let mut rows = csv::Reader::from_path(run.join("predictions.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 12);
    let paths: Vec<_> = rows.iter().map(|row| dir.path().join("colours").join(&row[0])).collect();
    for (outcome, row) in classifier.classify_files(paths).zip(&rows) {
        let Outcome::Classified(found) = outcome else { panic!("{outcome:?}") };
        assert_eq!(found.predictions[0].label, row[2], "{}", &row[0]);
        let probability: f64 = row[3].parse().unwrap();
        assert!((f64::from(found.predictions[0].probability) - probability).abs() < 1e-4);
    }
}

#[test]
fn an_export_that_does_not_agree_is_refused_and_leaves_the_old_file() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--epochs", "1"]).assert().success();
    fs::write(dir.path().join("model.onnx"), "the old one").unwrap();
    let error = stderr(train(dir.path()).args(["export", "run", "--tolerance", "0"]));
    assert!(error.contains("does not agree with libtorch") && error.contains("was not kept"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("model.onnx")).unwrap(), "the old one");
    let error = stderr(train(dir.path()).args(["export", "run", "-o", "nowhere/model.onnx"]));
    assert!(error.contains("cannot write nowhere/model.onnx: there is no folder nowhere"), "{error}");
    let others = fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("tmp"));
    assert_eq!(others.count(), 0, "nothing is left behind");
}

#[test]
fn a_bare_checkpoint_describes_itself() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--epochs", "1", "--attention-ratio", "8"]).assert().success();
    let checkpoint = "run/best.safetensors";
    train(dir.path())
        .args(["export", checkpoint, "--image-size", "16", "--opset", "21", "--mean", "0.5,0.4,0.3"])
        .assert()
        .success()
        .stdout(contains("ratio 8, kernel 7").and(contains("3 classes")).and(contains("generated images")));
    let classifier = Classifier::builder().device(Device::Cpu).load(dir.path().join("model.onnx")).unwrap();
    assert_eq!(classifier.card().labels, ["class 0", "class 1", "class 2"]);
    assert_eq!(classifier.card().preprocessing.mean, [0.5, 0.4, 0.3]);
    assert_eq!(classifier.card().preprocessing.crop, 16.into());

    fs::write(dir.path().join("labels.txt"), "one\ntwo\n").unwrap();
    let error = stderr(train(dir.path()).args(["export", checkpoint, "--labels", "labels.txt"]));
    assert!(error.contains("names 2 classes, the checkpoint has 3"), "{error}");
    let error = stderr(train(dir.path()).args(["export", "run", "--labels", "labels.txt"]));
    assert!(error.contains("--labels is for bare checkpoints"), "{error}");
    let error = stderr(train(dir.path()).args(["export", checkpoint, "--std", "1,1,0"]));
    assert!(error.contains("--mean and --std: a standard deviation of [1.0, 1.0, 0.0]"), "{error}");
    let error = stderr(train(dir.path()).args(["export", checkpoint, "--opset", "16"]));
    assert!(error.contains("opset 16 is not supported: choose 17 to 23"), "{error}");
}

#[test]
fn checkpoints_that_do_not_fit_are_refused_by_name() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--epochs", "1"]).assert().success();
    // Of another class count, in a run that says three.
    colours(&dir.path().join("two"), "train", &COLOURS[..2], 14);
    fit(dir.path()).args(["--data", "two", "--out", "other", "--epochs", "1"]).assert().success();
    fs::copy(dir.path().join("other/best.safetensors"), dir.path().join("run/best.safetensors")).unwrap();
    let error = stderr(train(dir.path()).args(["export", "run"]));
    assert!(error.contains("2 classes") && error.contains("3 classes"), "{error}");
    // Without attention.
    fit(dir.path()).args(["--out", "plain", "--attention", "none", "--epochs", "1"]).assert().success();
    fs::copy(dir.path().join("plain/best.safetensors"), dir.path().join("run/best.safetensors")).unwrap();
    let error = stderr(train(dir.path()).args(["export", "run"]));
    assert!(error.contains("run/best.safetensors holds a resnet18, 3x3 stem"), "{error}");
    // Not a checkpoint at all.
    fs::write(dir.path().join("run/best.safetensors"), "not a checkpoint").unwrap();
    let error = stderr(train(dir.path()).args(["export", "run"]));
    assert!(error.contains("is not a checkpoint: it is neither a safetensors file nor"), "{error}");
    let error = stderr(train(dir.path()).args(["export", "nowhere.safetensors"]));
    assert!(error.contains("nowhere.safetensors: No such file"), "{error}");
    let error = stderr(train(dir.path()).args(["export", "colours"]));
    assert!(error.contains("colours is not a run folder"), "{error}");
    // As a start.
    let error = stderr(fit(dir.path()).args(["--out", "new", "--pretrained", "run/best.safetensors"]));
    assert!(error.contains("is not a checkpoint: it is neither a safetensors file nor"), "{error}");
}

#[test]
fn changed_images_are_no_hindrance_and_are_named() {
    let (dir, data) = colour_set();
    fit(dir.path()).args(["--epochs", "1"]).assert().success();
    fs::remove_file(data.join("train/red/003.png")).unwrap();
    train(dir.path()).args(["export", "run"]).assert().success().stdout(contains("generated images")).stderr(
        contains("warning: the run's images have changed, so the file is verified on generated images")
            .and(contains("1 gone (train/red/003.png)")),
    );
    fs::remove_dir_all(data).unwrap();
    let listed = "the run's images cannot be listed";
    train(dir.path()).args(["export", "run"]).assert().success().stderr(contains(listed));
}

#[test]
fn a_damaged_run_is_named() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--epochs", "1"]).assert().success();
    let config = dir.path().join("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, why) in [
        ("resize = 8", "resize = 4", "a crop of 8x8 from an image resized to 4x4"),
        ("validation = 0.1", "validation = 3.0", "validation must be at least 0 and below 1"),
        ("seed", "sead", "missing field `seed`"),
    ] {
        fs::write(&config, text.replacen(from, to, 1)).unwrap();
        let error = stderr(train(dir.path()).args(["export", "run"]));
        assert!(error.contains("run/config.toml is damaged") && error.contains(why), "{error}");
    }
}

/// Saves a checkpoint of the default network for the colours, without training.
fn untrained(dir: &Path) {
    let network = networks::Classifier::new(&Architecture { classes: 3, ..Architecture::default() }).unwrap();
    let weights = testing::weights(&network, &[1, 3, 16, 16]).unwrap();
    checkpoint::save(&weights, dir.join("weights.safetensors")).unwrap();
    fs::write(dir.join("labels.txt"), "blue\ngreen\nred\n").unwrap();
}

#[test]
fn every_form_of_a_file_says_the_same_of_a_image() {
    let (dir, _) = colour_set();
    untrained(dir.path());
    let probabilities = |form: &[&str]| -> Vec<f32> {
        let common = ["export", "weights.safetensors", "--labels", "labels.txt", "--image-size", "16"];
        train(dir.path())
            .args(common)
            .args(["--images", "colours/test", "--drift", "3"])
            .args(form)
            .assert()
            .success()
            .stdout(contains("on 12 images").and(contains("accuracy")).and(contains("the 3 worst of")));
        let path = dir.path().join("model.onnx");
        let classifier = Classifier::builder().device(Device::Cpu).load(&path).unwrap();
        let options = Options::default().device(Device::Cpu);
        let verification = Verification::of_file(&path, &options, None).unwrap();
        assert!(verification.holds() && verification.agreement.images == 4, "{verification:?}");
        let observed = if form.contains(&"--attention-outputs") { 8 } else { 0 };
        assert_eq!(classifier.session().outputs().len(), 1 + observed);
        assert_eq!(classifier.card().observed.len(), observed);
        let images = ferronnx_infer::files::images_in(dir.path().join("colours/test")).unwrap();
        let probability = |outcome: Outcome| match outcome {
            Outcome::Classified(found) => found.predictions[0].probability,
            Outcome::Failed(failed) => panic!("{failed:?}"),
        };
        classifier.classify_files(images).map(probability).collect()
    };
    let plain = probabilities(&[]);
    for (form, tolerance) in [
        (&["--no-fold", "--opset", "23"][..], 1e-5),
        (&["--input", "uint8", "--attention-outputs"], 1e-6),
        (&["--precision", "fp16", "--attention-outputs"], 1e-2),
        (&["--precision", "fp16", "--input", "uint8", "--opset", "20"], 1e-2),
        (&["--precision", "int8", "--calibration", "colours/train"], 5e-2),
        (
            &[
                "--precision",
                "int8",
                "--calibration",
                "colours/train",
                "--ranges",
                "percentile",
                "--input",
                "uint8",
                "--attention-outputs",
            ],
            5e-2,
        ),
    ] {
        let found = probabilities(form);
        let difference = found.iter().zip(&plain).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()));
        assert!(difference <= tolerance, "{form:?}: {difference}");
    }
}

#[test]
fn attention_outputs_are_what_libtorch_multiplies_with() {
    let (dir, _) = colour_set();
    untrained(dir.path());
    train(dir.path())
        .args(["export", "weights.safetensors", "--image-size", "16", "--attention-outputs"])
        .assert()
        .success();
    let options = Options::default().device(Device::Cpu);
    let session = ferronnx_infer::Session::from_file(dir.path().join("model.onnx"), &options).unwrap();
    let input = testing::input(&[2, 3, 16, 16]);
    let names: Vec<&str> = session.outputs()[1..].iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names.len(), 8);
    let found = session.fetch(input.view(), &names).unwrap();

    let network = networks::Classifier::new(&Architecture { classes: 3, ..Architecture::default() }).unwrap();
    let shape = [2, 3, 16, 16];
    let weights = testing::weights(&network, &shape).unwrap();
    let params = params(&network, &shape, &weights);
    let interface = Interface::new([3, 16, 16]).observed(true);
    let values =
        tch::no_grad(|| values(&network, &interface, &Eager::eval(&params), tensor(&input)).unwrap());
    for (name, found) in names.iter().zip(found) {
        assert!(found.iter().all(|&value| 0.0 < value && value < 1.0), "{name}");
        let difference = relative_difference(&found, &to_array(&values[*name]).unwrap());
        assert!(difference < 1e-4, "{name}: {difference}");
    }
    let error = session.fetch(input.view(), &["nothing"]).unwrap_err().to_string();
    assert_eq!(error, "the model has no float output `nothing`");
}

/// Fully connected layer of the default network for the colours, as the formula of the untrained weights says.
fn classifier(features: &Array2<f32>) -> Array2<f32> {
    let network = networks::Classifier::new(&Architecture { classes: 3, ..Architecture::default() }).unwrap();
    let weights = testing::weights(&network, &[1, 3, 16, 16]).unwrap();
    let weight = weights["backbone.fc.weight"].view().into_dimensionality::<Ix2>().unwrap();
    let bias = weights["backbone.fc.bias"].view().into_dimensionality::<Ix1>().unwrap();
    features.dot(&weight.t()) + bias
}

#[test]
fn features_and_feature_maps_give_the_logits_in_every_form() {
    let (dir, _) = colour_set();
    untrained(dir.path());
    let options = Options::default().device(Device::Cpu);
    let images = ferronnx_infer::files::images_in(dir.path().join("colours/test")).unwrap();
    let decoded: Vec<_> = images.iter().map(|path| ferronnx_infer::decode::file(path).unwrap()).collect();
    for (form, tolerance) in [
        (&[][..], 1e-5),
        (&["--no-fold", "--opset", "17", "--attention-outputs"], 1e-5),
        (&["--input", "uint8"], 1e-5),
        (&["--precision", "fp16"], 1e-5),
        (&["--precision", "int8", "--calibration", "colours/train"], 3e-2),
    ] {
        let common = ["export", "weights.safetensors", "--labels", "labels.txt", "--image-size", "16"];
        let wanted = ["--images", "colours/test", "--features", "--explain-outputs"];
        train(dir.path()).args(common).args(wanted).args(form).assert().success();
        let path = dir.path().join("model.onnx");
        assert!(Verification::of_file(&path, &options, None).unwrap().holds(), "{form:?}");
        let session = ferronnx_infer::Session::from_file(&path, &options).unwrap();
        let card = ModelCard::from_json(&session.metadata(CARD_KEY).unwrap()).unwrap();
        let roles: Vec<_> = card.outputs.iter().map(|(name, role)| (&**name, *role)).collect();
        assert_eq!(
            roles,
            [
                ("logits", OutputRole::Scores),
                ("features", OutputRole::Features),
                ("feature_maps", OutputRole::FeatureMaps)
            ]
        );
        assert_eq!(card.observed.len(), if form.contains(&"--attention-outputs") { 8 } else { 0 });
        let preprocessor = Preprocessor::new(&card.preprocessing);
        let prepared: Vec<_> = decoded.iter().map(|image| preprocessor.prepare(image)).collect();
        let batch = preprocessor.batch(&prepared, card.input);
        let found = session.fetch(&batch, &["logits", "features", "feature_maps"]).unwrap();
        let [logits, features, maps] = &found[..] else { panic!("{}", found.len()) };
        assert_eq!((features.shape(), maps.shape()), (&[12, 512][..], &[12, 512, 2, 2][..]));
        let means = maps.mean_axis(Axis(3)).unwrap().mean_axis(Axis(2)).unwrap();
        assert!(relative_difference(&means, features) <= tolerance, "{form:?}");
        let features = features.clone().into_dimensionality().unwrap();
        let difference = relative_difference(&classifier(&features).into_dyn(), logits);
        assert!(difference <= tolerance, "{form:?}: {difference}");
    }
    // A file without them is what it was: the first format, without roles.
    train(dir.path()).args(["export", "weights.safetensors", "--image-size", "16"]).assert().success();
    let session = ferronnx_infer::Session::from_file(dir.path().join("model.onnx"), &options).unwrap();
    let card = session.metadata(CARD_KEY).unwrap();
    assert!(card.starts_with("{\"format\":1,") && !card.contains("\"outputs\""), "{card}");
}

#[test]
fn forms_that_cannot_be_are_refused() {
    let (dir, _) = colour_set();
    untrained(dir.path());
    let refused = |arguments: &[&str]| {
        stderr(
            train(dir.path()).args(["export", "weights.safetensors", "--image-size", "16"]).args(arguments),
        )
    };
    // The flag's name until November 2026, which scripts use.
    for flag in ["--images", "--pictures"] {
        assert!(refused(&[flag, "nowhere"]).contains("nowhere: no such file or folder"));
    }
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(refused(&["--images", "empty"]).contains("--images empty: there are no images"));
    let int8 = ["--precision", "int8"];
    assert!(refused(&int8).contains("int8 needs images") && refused(&int8).contains("--calibration DIR"));
    let calibrated = ["--precision", "int8", "--calibration", "colours/train"];
    let error = refused(&[&calibrated[..], &["--no-fold"]].concat());
    assert!(error.contains("leave out --no-fold"), "{error}");
    assert!(refused(&["--tolerance", "inf"]).contains("--tolerance has to be a number"));
    assert!(!dir.path().join("model.onnx").exists());
    let plain =
        networks::Classifier::new(&Architecture { attention: None, ..Architecture::default() }).unwrap();
    let weights = testing::weights(&plain, &[1, 3, 16, 16]).unwrap();
    checkpoint::save(&weights, dir.path().join("weights.safetensors")).unwrap();
    assert!(refused(&["--attention-outputs"]).contains("--attention-outputs: this network has no attention"));
}

#[test]
fn a_calibrated_file_says_its_temperature() {
    let (dir, _) = colour_set();
    fit(dir.path()).assert().success();
    let result = fs::read_to_string(dir.path().join("run/result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    let page = fs::read_to_string(dir.path().join("run/report.html")).unwrap();
    assert!(
        page.contains("<h2>Calibration</h2>") && page.contains("<h2>ROC and precision-recall curves</h2>")
    );
    let has_temperature = result["temperature_scaling"].is_object();
    assert_eq!(page.contains("train export --calibrate"), has_temperature, "{result}");

    // A quarter of the images is in the folder of another class.
    for (class, colour) in COLOURS {
        let other = COLOURS.iter().find(|(name, _)| *name != class).unwrap().1;
        colours(dir.path(), "mixed", &[(class, colour)], 6);
        colours(&dir.path().join("mixed"), class, &[("wrong", other)], 2);
        for index in 0..2 {
            let from = dir.path().join(format!("mixed/{class}/wrong/{index:03}.png"));
            fs::rename(from, dir.path().join(format!("mixed/{class}/wrong{index}.png"))).unwrap();
        }
        fs::remove_dir(dir.path().join(format!("mixed/{class}/wrong"))).unwrap();
    }
    fs::write(dir.path().join("labels.txt"), "blue\ngreen\nred\n").unwrap();
    let checkpoint = ["export", "run/best.safetensors", "--image-size", "8", "--calibrate"];
    let error = stderr(train(dir.path()).args(checkpoint));
    assert!(error.contains("no images with known classes: name class folders with --images"), "{error}");
    train(dir.path())
        .args(checkpoint)
        .args(["--labels", "labels.txt", "--images", "mixed"])
        .assert()
        .success()
        .stdout(contains("temperature ").and(contains("expected error before")))
        .stderr(contains("24 validation images are few"));
    let classifier = Classifier::builder().device(Device::Cpu).load(dir.path().join("model.onnx")).unwrap();
    let scaling = classifier.card().temperature_scaling.as_ref().unwrap();
    assert_eq!(scaling.validation.images, 24);

    if has_temperature {
        train(dir.path())
            .args(["export", "run", "--calibrate"])
            .assert()
            .success()
            .stdout(contains("on 12 test images"));
    } else {
        let error = stderr(train(dir.path()).args(["export", "run", "--calibrate"]));
        assert!(error.contains("the logits cannot be calibrated"), "{error}");
    }
}
