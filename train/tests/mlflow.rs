//! MLflow tracking against a server on this machine that fails in many ways.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;
#[path = "common/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use common::colour_set;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use server::{Reply, Request, Server, closed_url};

const SECRET: &str = "very-hidden-password";

/// Short run on small images.
fn fit(dir: &Path, epochs: &str) -> Command {
    let mut command = train(dir);
    command.args(["fit", "--data", "colours", "--out", "run", "--image-size", "8", "--batch-size", "16"]);
    command.args(["--epochs", epochs, "--device", "cpu", "--attention", "none", "--limit", "24"]);
    command
}

fn train(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(dir);
    for name in ["URI", "USERNAME", "PASSWORD", "TOKEN"] {
        command.env_remove(format!("MLFLOW_TRACKING_{name}"));
    }
    command
}

/// Answers as MLflow does; the experiment is there after it was created.
fn mlflow(request: &Request, created: &AtomicBool) -> Reply {
    let json = |value: Value| Reply::of(value.to_string().as_bytes(), None);
    let path = request.path.split('?').next().unwrap();
    match path.trim_start_matches("/api/2.0/") {
        "mlflow/experiments/get-by-name" if created.load(Ordering::Relaxed) => {
            json(json!({ "experiment": { "experiment_id": "7", "lifecycle_stage": "active" } }))
        }
        "mlflow/experiments/get-by-name" => Reply::error(
            404,
            &json!({ "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no" }).to_string(),
        ),
        "mlflow/experiments/create" => {
            created.store(true, Ordering::Relaxed);
            json(json!({ "experiment_id": "7" }))
        }
        "mlflow/runs/create" => json(
            json!({ "run": { "info": { "run_id": "abc", "artifact_uri": "mlflow-artifacts:/7/abc/artifacts" } } }),
        ),
        "mlflow/runs/log-batch" | "mlflow/runs/update" => json(json!({})),
        path if path.starts_with("mlflow-artifacts/artifacts/7/abc/artifacts/") => json(json!({})),
        _ => Reply::status(404),
    }
}

fn healthy() -> Server {
    let created = AtomicBool::new(false);
    Server::start(move |request, _| mlflow(request, &created))
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// Steps of a metric that the server was sent, in order.
fn steps(requests: &[Request], name: &str) -> Vec<u64> {
    let batches = requests.iter().filter(|request| request.path.ends_with("runs/log-batch")).map(body);
    let metrics = batches.flat_map(|batch| batch["metrics"].as_array().cloned().unwrap_or_default());
    metrics.filter(|metric| metric["key"] == name).map(|metric| metric["step"].as_u64().unwrap()).collect()
}

/// States that the server was told, in order.
fn states(requests: &[Request]) -> Vec<String> {
    let updates = requests.iter().filter(|request| request.path.ends_with("runs/update")).map(body);
    updates.map(|update| update["status"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_run_is_sent_once_with_its_parameters_metrics_artifacts_and_end() {
    let (dir, _) = colour_set();
    let server = healthy();
    let output = fit(dir.path(), "2")
        .args(["--mlflow", &server.url("/"), "--mlflow-experiment", "two words"])
        .env("MLFLOW_TRACKING_USERNAME", "me")
        .env("MLFLOW_TRACKING_PASSWORD", SECRET)
        .output()
        .unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("/#/experiments/7/runs/abc"), "{stdout}");
    let requests = server.requests();
    assert!(requests[0].path.ends_with("?experiment_name=two%20words"), "{}", requests[0].path);
    // Base64 of `me:very-hidden-password`.
    let basic = Some("Basic bWU6dmVyeS1oaWRkZW4tcGFzc3dvcmQ=".to_owned());
    assert!(requests.iter().all(|request| request.authorization == basic), "{requests:?}");
    for name in ["loss/train", "loss/validation", "accuracy/validation", "learning_rate/all"] {
        assert_eq!(steps(&requests, name), [1, 2], "{name}");
    }
    assert_eq!(steps(&requests, "accuracy/test"), [2]);
    assert_eq!(steps(&requests, "macro_f1/test"), [2]);
    assert_eq!(states(&requests), ["FINISHED"]);
    let params =
        requests.iter().find(|request| contains("\"params\"").eval(&String::from_utf8_lossy(&request.body)));
    let params = body(params.unwrap())["params"].as_array().unwrap().clone();
    let value =
        |key: &str| params.iter().find(|param| param["key"] == key).map(|param| param["value"].clone());
    assert_eq!(value("recipe.batch_size"), Some("16".into()), "{params:?}");
    assert_eq!(value("seed"), Some("42".into()));
    let put: Vec<_> = requests.iter().filter(|request| request.method == "PUT").collect();
    assert_eq!(put.len(), 3, "{put:?}");
    assert_eq!(put[0].body, fs::read(dir.path().join("run/report.html")).unwrap());
    // Nobody finds the password, in any form.
    let mut seen = format!("{stdout}{stderr}");
    for file in ["mlflow.json", "config.toml", "report.html", "plan.json", "result.json"] {
        seen += &fs::read_to_string(dir.path().join("run").join(file)).unwrap();
    }
    assert!(!seen.contains(SECRET) && !seen.contains("bWU6"), "{seen}");
    // There is nothing more to send.
    let before = server.requests().len();
    train(dir.path()).args(["fit", "--resume", "run"]).assert().success().stdout(contains("nothing to do"));
    assert_eq!(server.requests().len(), before);
}

#[test]
fn a_server_that_is_down_costs_nothing_and_gets_everything_later() {
    let (dir, _) = colour_set();
    let output = fit(dir.path(), "2").args(["--mlflow", &closed_url()]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(dir.path().join("run/result.json").exists());
    assert_eq!(stderr.matches("warning: MLflow:").count(), 1, "{stderr}");
    assert!(
        stderr.contains("MLflow lacks epochs 1 to 2") && stderr.contains("--resume run sends the rest"),
        "{stderr}"
    );
    let server = healthy();
    train(dir.path())
        .args(["fit", "--resume", "run", "--mlflow", &server.url("")])
        .assert()
        .success()
        .stdout(contains("the MLflow server has all of it now"));
    let requests = server.requests();
    assert_eq!(steps(&requests, "loss/train"), [1, 2]);
    assert_eq!(states(&requests), ["FINISHED"]);
}

#[test]
fn failures_that_pass_lose_and_repeat_nothing() {
    let (dir, _) = colour_set();
    let created = AtomicBool::new(false);
    // The first answers are errors of a server that starts; later every third request fails.
    let server = Server::start(move |request, count| match count {
        0 => Reply::status(503),
        _ if count % 3 == 0 => Reply::status(500),
        _ => mlflow(request, &created),
    });
    let output = fit(dir.path(), "3").args(["--mlflow", &server.url("")]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr.matches("warning: MLflow").count(), 1, "{stderr}");
    // Requests that failed were not taken by the server.
    let taken = server.requests().into_iter().enumerate().filter(|(count, _)| count % 3 != 0);
    let taken: Vec<Request> = taken.map(|(_, request)| request).collect();
    assert_eq!(steps(&taken, "loss/train"), [1, 2, 3]);
    assert_eq!(states(&taken), ["FINISHED"]);
    assert_eq!(taken.iter().filter(|request| request.path.ends_with("runs/create")).count(), 1);
}

#[test]
fn refusals_are_said_once_with_the_servers_reason() {
    let (dir, _) = colour_set();
    let server = Server::start(|_, _| Reply::error(401, r#"{"message": "who are you?"}"#));
    let output = fit(dir.path(), "2").args(["--mlflow", &server.url("")]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(
        stderr.matches("warning: MLflow: the server answers 401: who are you?").count(),
        1,
        "{stderr}"
    );
    assert!(stderr.contains("MLflow lacks epochs 1 to 2"), "{stderr}");
}

#[test]
fn a_url_with_a_password_is_refused_and_not_repeated() {
    let (dir, _) = colour_set();
    let url = format!("http://me:{SECRET}@localhost:1");
    let hidden = || contains("MLFLOW_TRACKING_PASSWORD").and(contains(SECRET).not());
    fit(dir.path(), "1").args(["--mlflow", &url]).assert().code(2).stderr(hidden());
    assert!(!dir.path().join("run").exists(), "nothing was begun");
    // The environment may be for other programs.
    fit(dir.path(), "1").env("MLFLOW_TRACKING_URI", &url).assert().success().stderr(hidden());
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on_as_the_same_run() {
    let (dir, _) = colour_set();
    let server = Arc::new(healthy());
    let mut command = Process::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(dir.path()).args(["fit", "--data", "colours", "--out", "run", "--image-size", "8"]);
    command.args([
        "--epochs",
        "300",
        "--device",
        "cpu",
        "--attention",
        "none",
        "--batch-size",
        "16",
        "--limit",
        "24",
    ]);
    let child = command
        .args(["--mlflow", &server.url("")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while steps(&server.requests(), "loss/train").len() < 2 {
        assert!(Instant::now() < deadline, "no epoch was sent");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert_eq!(states(&server.requests()), ["KILLED"]);
    let done = fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap().lines().count();
    let mut resumed = Process::new(env!("CARGO_BIN_EXE_train"));
    let resumed = resumed.current_dir(dir.path()).args(["fit", "--resume", "run"]);
    let mut resumed = resumed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while steps(&server.requests(), "loss/train").len() < done + 2 {
        assert!(Instant::now() < deadline, "the run did not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    resumed.kill().unwrap();
    resumed.wait().unwrap();
    let requests = server.requests();
    let steps = steps(&requests, "loss/train");
    assert!(steps.windows(2).all(|pair| pair[1] == pair[0] + 1), "{steps:?}");
    assert_eq!(requests.iter().filter(|request| request.path.ends_with("runs/create")).count(), 1);
    assert_eq!(states(&requests)[..2], ["KILLED", "RUNNING"]);
}
