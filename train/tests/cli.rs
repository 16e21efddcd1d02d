//! The binary: a whole run, and what it refuses.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::fs;
use std::path::Path;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use common::{COLOURS, colour_set, colours};
use infer::results::Outcome;
use infer::{Classifier, Device};
use predicates::prelude::*;
use predicates::str::{contains, is_empty};

fn train(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(dir);
    command
}

/// A short run on small pictures.
fn fit(dir: &Path) -> Command {
    let mut command = train(dir);
    command.args(["fit", "--data", "colours", "--out", "run", "--image-size", "8"]);
    command.args(["--batch-size", "16", "--epochs", "3", "--device", "cpu"]);
    command
}

fn stderr(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.starts_with("error: "), "{text}");
    assert!(!text.contains("panicked") && !text.contains("Exception raised"), "{text}");
    text
}

#[test]
fn fit_export_and_classify_agree_picture_by_picture() {
    let (dir, _) = colour_set();
    fit(dir.path())
        .assert()
        .success()
        .stdout(
            contains("test accuracy").and(contains("epoch 3/3")).and(contains("recipe      from-scratch")),
        )
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
        .stdout(contains("top-1 3 of 3").and(contains("validation pictures")));

    let mut classifier =
        Classifier::builder().device(Device::Cpu).load(&dir.path().join("model.onnx")).unwrap();
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
        .stdout(contains("ratio 8, kernel 7").and(contains("3 classes")).and(contains("generated pictures")));
    let classifier = Classifier::builder().device(Device::Cpu).load(&dir.path().join("model.onnx")).unwrap();
    assert_eq!(classifier.card().labels, ["class 0", "class 1", "class 2"]);
    assert_eq!(classifier.card().preprocessing.mean, [0.5, 0.4, 0.3]);
    assert_eq!(classifier.card().preprocessing.crop, 16);

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
fn a_pretrained_start_says_what_is_new_and_freezes_the_rest() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--attention", "none", "--out", "base", "--epochs", "1"]).assert().success();
    fit(dir.path()).args(["--pretrained", "base/best.safetensors"]).assert().success().stdout(
        contains("pretrained weights: 102 tensors loaded")
            .and(contains("recipe      three-phase, 3 epochs"))
            .and(contains("new: cbam_layer1.channel_attn.fc.0.weight,"))
            .and(contains("1 epoch at 1e-3\n  14 parameters learn: fc cbam_layer1"))
            .and(contains(
                "60 parameters are frozen: bn1 conv1 layer1 layer2 layer3 layer4\n  statistics of 20",
            )),
    );
}

#[test]
fn data_that_cannot_be_trained_on_is_named() {
    let (dir, data) = colour_set();
    let add = |path: &str, bytes: &[u8]| fs::write(data.join(path), bytes).unwrap();
    let good = fs::read(data.join("train/red/000.png")).unwrap();
    add("train/red/text.png", b"this is no picture");
    add("train/blue/empty.png", b"");
    add("train/green/cut.png", &good[..good.len() / 2]);
    let error = stderr(&mut fit(dir.path()));
    assert!(error.contains("3 of the pictures cannot be used"), "{error}");
    for name in ["red/text.png", "blue/empty.png", "green/cut.png"] {
        assert!(error.contains(name), "{name}: {error}");
    }
    assert!(!dir.path().join("run").exists(), "nothing was begun");

    fs::create_dir(dir.path().join("nothing")).unwrap();
    let refused = |data: &str| stderr(fit(dir.path()).args(["--data", data]));
    assert!(refused("nothing").contains("no class folders"));
    assert!(refused("nowhere").contains("nowhere: No such file"));
    colours(dir.path(), "single", &COLOURS[..1], 3);
    assert!(refused("single").contains("only one class (blue)"));
    fs::create_dir(dir.path().join("single/white")).unwrap();
    assert!(refused("single").contains("white holds no pictures"));
    colours(&dir.path().join("extra"), "train", &COLOURS[..2], 3);
    colours(&dir.path().join("extra"), "test", &COLOURS[1..], 3);
    assert!(refused("extra").contains("class red in"));
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let (dir, _) = colour_set();
    let refused = |flags: &[&str]| stderr(fit(dir.path()).args(flags));
    assert!(refused(&["--recipe", "none.toml"]).contains("cannot read the recipe none.toml"));
    assert!(refused(&["--attention-kernel", "4"]).contains("must be odd, not 4"));
    assert!(refused(&["--attention-ratio", "100"]).contains("ratio of 100"));
    assert!(refused(&["--pretrained", "weights.pth"]).contains("cannot read --pretrained weights.pth"));
    assert!(refused(&["--limit", "2"]).contains("too few"));
    fit(dir.path()).args(["--device", "gpu"]).assert().code(2).stderr(contains("use auto, cpu, cuda"));
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::write(dir.path().join("run/mine"), "").unwrap();
    assert!(refused(&[]).contains("run is not empty: choose another --out"));
}

#[test]
fn an_explicit_gpu_never_falls_back() {
    let (dir, _) = colour_set();
    if tch::Cuda::is_available() {
        return;
    }
    let error = stderr(fit(dir.path()).args(["--device", "cuda:1"]));
    assert!(error.contains("--device cuda:1: ") && error.contains("or use --device cpu"), "{error}");
    fit(dir.path())
        .args(["--device", "auto", "--epochs", "1"])
        .assert()
        .success()
        .stdout(contains("device      cpu"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_ends() {
    let (dir, _) = colour_set();
    let child = Process::new(env!("CARGO_BIN_EXE_train"))
        .current_dir(dir.path())
        .args([
            "fit",
            "--data",
            "colours",
            "--out",
            "run",
            "--image-size",
            "32",
            "--epochs",
            "500",
            "--device",
            "cpu",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let metrics = dir.path().join("run/metrics.jsonl");
    let deadline = Instant::now() + Duration::from_secs(120);
    while !metrics.exists() {
        assert!(Instant::now() < deadline, "no epoch was completed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("everything is saved in run"), "{text}");
    assert!(text.contains("next: train fit --resume run"), "{text}");
    train(dir.path()).args(["export", "run"]).assert().success();
}

#[cfg(unix)]
#[test]
fn a_full_disk_while_saving_is_named_and_keeps_what_was_there() {
    let (dir, _) = colour_set();
    // A limit on the size of files stands for the disk: the write fails in the same place, with the system's reason.
    let script = format!(
        "trap '' XFSZ; ulimit -f 4000; exec {} fit --data colours --out run --image-size 8 --epochs 1 --device cpu",
        env!("CARGO_BIN_EXE_train")
    );
    let output = Process::new("sh").current_dir(dir.path()).args(["-c", &script]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("cannot save run/best.safetensors: File too large"), "{error}");
    let left = fs::read_dir(dir.path().join("run")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("tmp")).collect();
    assert!(left.is_empty(), "no half-written file stays: {left:?}");
}

#[cfg(unix)]
#[test]
fn a_full_disk_later_on_leaves_a_state_to_go_on_from() {
    let (dir, _) = colour_set();
    let limited = |limit: &str, arguments: &str| {
        let script =
            format!("trap '' XFSZ; ulimit -f {limit}; exec {} {arguments}", env!("CARGO_BIN_EXE_train"));
        let output = Process::new("sh").current_dir(dir.path()).args(["-c", &script]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = limited(
        "unlimited",
        "fit --data colours --out run --image-size 8 --epochs 2 --limit 15 --device cpu",
    );
    assert_eq!(code, Some(0), "{error}");
    fs::remove_file(dir.path().join("run/result.json")).unwrap();
    let state = dir.path().join("run/last/state.json");
    let text = fs::read_to_string(&state).unwrap();
    let before = fs::read(dir.path().join("run/last/weights.safetensors")).unwrap();
    // Back to the beginning of the last epoch, as far as the position goes: it is trained and saved again.
    let back = text.replace("\"epoch\": 2", "\"epoch\": 1").replace("\"phase\": 2", "\"phase\": 1");
    let back = back
        .replace("\"initial\": []", "\"initial\": [1e-4]")
        .replace("\"current\": []", "\"current\": [1e-4]");
    assert_ne!(back, text);
    fs::write(&state, &back).unwrap();
    let (code, error) = limited("4000", "fit --resume run");
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("File too large"), "{error}");
    assert_eq!(fs::read(dir.path().join("run/last/weights.safetensors")).unwrap(), before);
    assert_eq!(fs::read_to_string(&state).unwrap(), back);
    assert_eq!(limited("unlimited", "fit --resume run").0, Some(0));
    assert!(dir.path().join("run/result.json").exists());
}

#[test]
fn what_cannot_be_resumed_is_named() {
    let (dir, data) = colour_set();
    fit(dir.path()).args(["--epochs", "1", "--limit", "15"]).assert().success();
    let again = || stderr(train(dir.path()).args(["fit", "--resume", "run"]));
    train(dir.path())
        .args(["fit", "--resume", "run"])
        .assert()
        .success()
        .stdout(contains("run has ended already: nothing to do"));
    train(dir.path())
        .args(["fit", "--resume", "run", "--epochs", "9"])
        .assert()
        .code(2)
        .stderr(contains("--resume <RUN>' cannot be used with '--epochs"));
    train(dir.path()).arg("fit").assert().code(2).stderr(contains("--data"));
    fs::remove_file(dir.path().join("run/result.json")).unwrap();
    fs::remove_file(data.join("train/red/000.png")).unwrap();
    assert!(again().contains("are not those that run was begun with"));
    let error = stderr(train(dir.path()).args(["fit", "--resume", "colours"]));
    assert!(error.contains("colours is not a run folder"), "{error}");
}

#[test]
fn bad_pictures_are_left_out_on_request_and_counted() {
    let (dir, data) = colour_set();
    let good = fs::read(data.join("train/red/000.png")).unwrap();
    fs::write(data.join("train/red/cut.png"), &good[..good.len() / 2]).unwrap();
    fs::write(data.join("train/blue/000.png"), "no picture").unwrap();
    fit(dir.path())
        .args(["--skip-bad", "--epochs", "1"])
        .assert()
        .success()
        .stdout(contains("pictures left out: they cannot be decoded"));
}

#[test]
fn a_loss_that_explodes_names_the_last_good_checkpoint() {
    let (dir, _) = colour_set();
    let recipe = |second: &str| {
        let phase = |name: &str, rate: &str| {
            format!("[[phase]]\nname = \"{name}\"\nepochs = 1\nlearning_rate = {rate}\ntrain = [\"*\"]\n")
        };
        let text = format!("name = \"two\"\nbatch_size = 4\n{}{}", phase("a", "1e-4"), phase("b", second));
        fs::write(dir.path().join("two.toml"), text).unwrap();
    };
    recipe("1e38");
    let data = ["fit", "--data", "colours", "--image-size", "8", "--limit", "15", "--device", "cpu"];
    let error = stderr(train(dir.path()).args(data).args(["--recipe", "two.toml", "--out", "run"]));
    assert!(error.contains("the last good checkpoint is run/last (epoch 1): the loss is"), "{error}");
    assert!(error.contains("in epoch 2, step 2 (phase \"b\"), on ") && error.contains(".png"), "{error}");
    // The way out: another rate in the run's own configuration.
    let config = dir.path().join("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let milder = text.replace(&format!("learning_rate = {}.0", 1e38), "learning_rate = 0.0001");
    assert_ne!(milder, text);
    fs::write(&config, milder).unwrap();
    train(dir.path()).args(["fit", "--resume", "run"]).assert().success().stdout(contains("epoch 2/2"));
}

#[test]
fn mixed_precision_is_for_gpus() {
    let (dir, _) = colour_set();
    for flag in ["--amp", "--amp=fp16"] {
        let error = stderr(fit(dir.path()).arg(flag));
        assert!(error.contains("--amp is for CUDA: on cpu it is slower"), "{error}");
    }
    fit(dir.path()).arg("--amp=fp8").assert().code(2).stderr(contains("use bf16 or fp16"));
}

#[test]
fn a_summary_is_a_table_or_an_object() {
    let (dir, _) = colour_set();
    let total = |arguments: &[&str]| -> u64 {
        let output =
            train(dir.path()).arg("summary").args(arguments).args(["--format", "json"]).output().unwrap();
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        summary["total"]["trainable"].as_u64().unwrap()
    };
    fit(dir.path()).args(["--epochs", "1", "--limit", "15", "--attention", "none"]).assert().success();
    assert_eq!(total(&["run"]), total(&["run/best.safetensors"]));
    assert!(total(&[]) > total(&["run"]), "attention has parameters");
    train(dir.path()).arg("summary").assert().success().stdout(contains("backbone.layer4.1.conv2"));
    let error = stderr(train(dir.path()).args(["summary", "nowhere.pth"]));
    assert!(error.contains("nowhere.pth"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_does_not_end_a_run() {
    let (dir, _) = colour_set();
    let script = format!(
        "{} fit --data colours --out run --image-size 8 --epochs 1 --device cpu | head -n 0",
        env!("CARGO_BIN_EXE_train")
    );
    let output = Process::new("sh").current_dir(dir.path()).args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(dir.path().join("run/result.json").exists());
}

#[test]
fn a_damaged_run_is_named() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--epochs", "1"]).assert().success();
    let config = dir.path().join("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, why) in [
        ("resize = 8", "resize = 4", "a crop of 8 from a shorter side of 4"),
        ("validation = 0.1", "validation = 3.0", "validation must be at least 0 and below 1"),
        ("seed", "sead", "missing field `seed`"),
    ] {
        fs::write(&config, text.replacen(from, to, 1)).unwrap();
        let error = stderr(train(dir.path()).args(["export", "run"]));
        assert!(error.contains("run/config.toml is damaged") && error.contains(why), "{error}");
    }
}

#[test]
fn help_has_examples() {
    for arguments in [&["--help"][..], &["fit", "--help"], &["export", "--help"]] {
        train(Path::new(".")).args(arguments).assert().success().stdout(contains("Examples:"));
    }
}
