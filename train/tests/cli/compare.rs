//! `train find-lr` and `train compare`.

use std::fs;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::common::colour_set;
use crate::{fit, stderr, train};

fn json(command: &mut assert_cmd::Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_learning_rate_is_found_shown_and_used() {
    let (dir, _) = colour_set();
    let find = |more: &[&str]| {
        let mut command = train(dir.path());
        command.args([
            "find-lr",
            "--data",
            "colours",
            "--image-size",
            "8",
            "--batch-size",
            "8",
            "--device",
            "cpu",
        ]);
        command.args(["--attention", "none", "--from", "1e-6", "--to", "1", "--steps", "24"]).args(more);
        command
    };
    let found = json(&mut find(&["--format", "json"]));
    let points = found["points"].as_array().unwrap();
    assert!(points.len() > 5, "{found}");
    assert!((points[0]["learning_rate"].as_f64().unwrap() / 1e-6 - 1.0).abs() < 1e-9, "{found}");
    // Squares of one colour are learnt at any sensible rate, so that there is one.
    let rate = found["suggestion"]["learning_rate"].as_f64().unwrap();
    assert!((1e-6..1.0).contains(&rate), "{found}");
    let next = found["next"].as_str().unwrap();
    assert!(next.starts_with("train fit --data colours --image-size 8 --batch-size 8"), "{next}");
    assert!(!next.contains("--steps") && next.contains("--learning-rate "), "{next}");
    let page = fs::read_to_string(dir.path().join("lr-finder.html")).unwrap();
    assert!(page.contains("suggestion: learning rate") && page.contains("<svg"), "the plot marks it");
    assert!(!dir.path().join("runs").exists(), "nothing else is written");
    find(&["--report", "other.html"])
        .assert()
        .success()
        .stdout(contains("steepest").and(contains("next: train fit")));
    // The steps depend on the seed only.
    let again = fs::read_to_string(dir.path().join("other.html")).unwrap();
    assert_eq!(again.matches("<circle").count(), page.matches("<circle").count());
    assert_eq!(again.replace(" --report other.html", ""), page.replace(" --format json", ""));
    find(&["--from", "-1"]).assert().code(2).stderr(contains("must be positive"));
    assert!(stderr(find(&[]).args(["--from", "1"])).contains("--from 1e0 must be below --to 1e0"));
    // Its answer in use: all phases keep their ratio.
    fit(dir.path())
        .args(["--learning-rate", "5e-3", "--recipe", "from-scratch", "--limit", "24", "--epochs", "2"])
        .assert()
        .success();
    let config = fs::read_to_string(dir.path().join("run/config.toml")).unwrap();
    assert!(
        config.contains("learning_rate = 0.005") && config.contains("learning_rate = 0.0005"),
        "{config}"
    );
}

#[test]
fn runs_are_compared_and_what_does_not_compare_is_said() {
    let (dir, _) = colour_set();
    let run = |out: &str, more: &[&str]| {
        let mut command = fit(dir.path());
        command.args(["--out", out, "--epochs", "1", "--limit", "24", "--attention", "none"]).args(more);
        command.assert().success();
    };
    run("runs/a", &[]);
    run("runs/b", &["--batch-size", "8"]);
    run("runs/c", &["--seed", "7"]);
    // Stopped before the end.
    fs::create_dir(dir.path().join("runs/stopped")).unwrap();
    for file in ["config.toml", "plan.json", "metrics.jsonl", "best.safetensors"] {
        fs::copy(dir.path().join("runs/a").join(file), dir.path().join("runs/stopped").join(file)).unwrap();
    }
    fs::create_dir(dir.path().join("runs/broken")).unwrap();
    fs::write(dir.path().join("runs/broken/config.toml"), "seed = [").unwrap();
    fs::write(dir.path().join("runs/notes.txt"), "").unwrap();
    let all = ["runs/a", "runs/b", "runs/c", "runs/stopped", "runs/broken", "runs/notes.txt"];
    let compare = |runs: &[&str], more: &[&str]| {
        let mut command = train(dir.path());
        command.arg("compare").args(runs).args(more);
        command
    };
    let found = json(&mut compare(&all, &["--format", "json", "--report", "compare.html"]));
    let status: Vec<_> =
        found["runs"].as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["finished", "finished", "finished", "unfinished", "broken"]);
    let first = &found["runs"][0];
    let result: Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("runs/a/result.json")).unwrap()).unwrap();
    for key in ["test_accuracy", "validation_accuracy", "best_epoch"] {
        assert_eq!(first[key], result[key], "{key}");
    }
    assert_eq!(first["test_images"], 12);
    let [low, high] = ["low", "high"].map(|end| first["test_interval"][end].as_f64().unwrap());
    let accuracy = first["test_accuracy"].as_f64().unwrap();
    assert!(low <= accuracy && accuracy <= high && low < high, "{first}");
    assert!(first["parameters"].as_u64().unwrap() > 11_000_000, "{first}");
    let settings: Vec<_> = found["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["setting"].as_str().unwrap())
        .collect();
    assert!(settings.contains(&"seed") && settings.contains(&"recipe.batch_size"), "{settings:?}");
    assert!(
        !settings.contains(&"data") && !settings.iter().any(|name| name.starts_with("labels")),
        "{settings:?}"
    );
    // The seed chooses the held-out images.
    assert!(found["warnings"].to_string().contains("validation accuracies are of other images"), "{found}");
    let page = fs::read_to_string(dir.path().join("compare.html")).unwrap();
    assert!(page.contains("<code>seed</code>") && page.contains("stopped (unfinished)"), "{page}");
    let same = json(&mut compare(&["runs/a", "runs/b"], &["--format", "json"]));
    assert_eq!(same["warnings"].as_array().unwrap().len(), 0, "{same}");

    compare(&all, &[]).assert().success().stdout(
        contains("broken is broken: runs/broken/config.toml is damaged").and(contains("recipe.batch_size: ")),
    );
    let csv = compare(&all, &["--format", "csv"]).output().unwrap().stdout;
    let mut csv = csv::Reader::from_reader(&csv[..]);
    assert!(csv.headers().unwrap().iter().any(|name| name == "config.recipe.batch_size"));
    assert_eq!(csv.records().map(Result::unwrap).count(), 5);
    let markdown =
        String::from_utf8(compare(&all, &["--format", "markdown"]).output().unwrap().stdout).unwrap();
    assert!(markdown.lines().all(|line| line.starts_with("| ") && line.ends_with(" |")), "{markdown}");

    compare(&["runs/a", "runs/../runs/a"], &[])
        .assert()
        .success()
        .stderr(contains("left out: runs/../runs/a is there already"));
    assert!(stderr(&mut compare(&["runs/a", "colours"], &[])).contains("colours is not a run folder"));
    assert!(stderr(&mut compare(&["runs/nowhere"], &[])).contains("runs/nowhere is not a run folder"));
    assert!(stderr(&mut compare(&["runs/notes.txt"], &[])).contains("no run folder is given"));
}

#[test]
fn runs_on_other_test_images_are_named() {
    let (dir, data) = colour_set();
    let run = |out: &str| {
        fit(dir.path()).args(["--out", out, "--epochs", "1", "--attention", "none"]).assert().success();
    };
    run("a");
    fs::remove_file(data.join("test/red/000.png")).unwrap();
    run("b");
    train(dir.path())
        .args(["compare", "a", "b"])
        .assert()
        .success()
        .stdout(contains("the test images are not the same, so test accuracies do not compare: a | b"));
}
