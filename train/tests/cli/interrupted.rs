//! Interrupted runs: by a signal, by a full disk, by changes to their folder.

use std::fs;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use predicates::prelude::*;
use predicates::str::contains;

use crate::common::colour_set;
use crate::{fit, stderr, train};

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
        "fit --data colours --out run --recipe from-scratch --image-size 8 --epochs 2 --limit 15 --device cpu",
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
fn a_run_whose_files_or_split_changed_is_not_resumed() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--epochs", "2", "--limit", "15"]).assert().success();
    let run = dir.path().join("run");
    fs::remove_file(run.join("result.json")).unwrap();
    let refused = |name: &str, change: &dyn Fn(String) -> Option<String>| {
        let text = fs::read(run.join(name)).unwrap();
        match change(String::from_utf8_lossy(&text).into_owned()) {
            Some(changed) => fs::write(run.join(name), changed).unwrap(),
            None => fs::remove_file(run.join(name)).unwrap(),
        }
        let error = stderr(train(dir.path()).args(["fit", "--resume", "run"]));
        fs::write(run.join(name), text).unwrap();
        error
    };
    let best = refused("best.safetensors", &|_| None);
    assert!(best.contains("best.safetensors is missing: it holds the weights of the best epoch"), "{best}");
    let metrics = refused("metrics.jsonl", &|text| Some(text.lines().take(1).collect::<String>() + "\n"));
    assert!(metrics.contains("metrics.jsonl has 1 of the 2 epochs so far"), "{metrics}");
    assert!(refused("metrics.jsonl", &|_| None).contains("has 0 of the 2 epochs"));
    let seed = refused("config.toml", &|text| Some(text.replace("seed = 42", "seed = 7")));
    assert!(seed.contains("run would be validated on other images than before: seed, limit"), "{seed}");
    let epochs = refused("config.toml", &|text| Some(text.replace("epochs = 2", "epochs = 1")));
    assert!(
        epochs.contains(".epochs = 1 (when the run began: 2): more epochs have begun already"),
        "{epochs}"
    );
    let sgd = refused("config.toml", &|text| Some(text.replace("name = \"sgd\"", "name = \"adamw\"")));
    assert!(sgd.contains("recipe.optimizer.name = adamw (when the run began: sgd)"), "{sgd}");
    train(dir.path())
        .args(["fit", "--resume", "run"])
        .assert()
        .success()
        .stdout(contains("changed in config.toml").not());
    // Any other change is said.
    fs::remove_file(run.join("result.json")).unwrap();
    let text = fs::read_to_string(run.join("config.toml")).unwrap();
    fs::write(run.join("config.toml"), text.replace("epochs = 2", "epochs = 3")).unwrap();
    let output = train(dir.path()).args(["fit", "--resume", "run"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let said = "changed in config.toml: recipe.phase.learn.epochs = 3, was 2; nothing comes of it, for the phase is over";
    assert!(output.status.success() && text.contains(said), "{text}");
}
