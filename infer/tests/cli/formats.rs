//! Tests of the four output formats.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{BLUE, GREEN, RED, Said, Workplace};

fn labels(results: &[Value]) -> Vec<(&str, &str)> {
    results
        .iter()
        .map(|result| (result["path"].as_str().unwrap(), result["predictions"][0]["label"].as_str().unwrap()))
        .collect()
}

fn keys(object: &Value) -> Vec<&String> {
    object.as_object().unwrap().keys().collect()
}

#[test]
fn json_has_the_contracts_keys() {
    let place = Workplace::new();
    place.image("r.png", RED);
    std::fs::write(place.path("bad.png"), "text").unwrap();
    let said = Said::by(place.infer().args(["classify", "r.png", "bad.png", "--format", "json"]));
    assert_eq!(said.code, 1, "{}", said.stderr);
    let results: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();

    assert_eq!(keys(&results[0]), ["activation", "path", "predictions", "provider", "timings_ms"]);
    assert_eq!(results[0]["provider"], "CPUExecutionProvider");
    let predictions = results[0]["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 3, "top-k 5 of three classes");
    assert_eq!(keys(&predictions[0]), ["index", "label", "probability"]);
    let sum: f64 = predictions.iter().map(|guess| guess["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    assert_eq!(keys(&results[0]["timings_ms"]), ["decode", "inference", "preprocess"]);

    assert_eq!(keys(&results[1]), ["error", "path"]);
    assert_eq!(results[1]["error"]["kind"], "decode");
    assert!(results[1]["error"]["message"].as_str().unwrap().starts_with("not an image"));
    assert!(said.stderr.starts_with("error: bad.png: not an image"), "{}", said.stderr);
}

#[test]
fn files_and_folders_in_the_order_given() {
    let place = Workplace::new();
    for (name, color) in
        [("z.png", BLUE), ("d/2.jpg", GREEN), ("d/1.png", RED), ("d/e/3.bmp", BLUE), ("a.png", RED)]
    {
        place.image(name, color);
    }
    let args = ["classify", "z.png", "d", "a.png", "z.png", "--format", "jsonl", "--batch", "2"];
    let said = Said::by(place.infer().args(args));
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let results: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        ("z.png", "blue"),
        ("d/1.png", "red"),
        ("d/2.jpg", "green"),
        ("d/e/3.bmp", "blue"),
        ("a.png", "red"),
        ("z.png", "blue"),
    ];
    assert_eq!(labels(&results), expected);
}

#[test]
fn batches_and_threads_change_nothing() {
    let place = Workplace::new();
    for index in 0..20u8 {
        place.image(&format!("p/{index:02}.png"), [index * 12, 120, 255 - index * 12]);
    }
    let results = |batch: &str, threads: &str| {
        let args = ["classify", "p", "--format", "csv", "--batch", batch, "--threads", threads];
        let said = Said::by(place.infer().args(args));
        assert_eq!(said.code, 0, "{}", said.stderr);
        said.stdout
    };
    let one = results("1", "1");
    assert_eq!(one.lines().count(), 1 + 20 * 3);
    let labels = |csv: &str| {
        csv.lines().map(|row| row.split(',').take(4).collect()).collect::<Vec<Vec<_>>>().concat().join(",")
    };
    assert_eq!(labels(&one), labels(&results("7", "2")));
}

#[test]
fn csv_has_a_row_per_class_and_per_error() {
    let place = Workplace::new();
    place.image("g.png", GREEN);
    let args = ["classify", "g.png", "none.png", "--format", "csv", "--top-k", "1"];
    let said = Said::by(place.infer().args(args));
    said.fails(1, &["none.png: no such file or folder"]);
    let rows: Vec<_> = said.stdout.lines().collect();
    assert_eq!(rows[0], "path,rank,index,label,probability,error");
    assert!(rows[1].starts_with("g.png,1,1,green,0."), "{}", rows[1]);
    assert_eq!(rows[2], "none.png,,,,,no such file or folder");
}

#[test]
fn table_is_for_people() {
    let place = Workplace::new();
    place.image("r.png", RED);
    let said = Said::by(place.infer().args(["classify", "r.png"]));
    assert_eq!(said.code, 0);
    let lines: Vec<_> = said.stdout.lines().collect();
    assert_eq!(lines[0], "r.png");
    assert!(lines[1].contains("1") && lines[1].contains(" %") && lines[1].ends_with("red"), "{}", lines[1]);
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
    assert!(said.stderr.starts_with("1 classified on CPU, "), "{}", said.stderr);
}

#[test]
fn an_image_on_standard_input() {
    let place = Workplace::new();
    place.image("b.png", BLUE);
    let bytes = std::fs::read(place.path("b.png")).unwrap();
    let said = Said::by(place.infer().args(["classify", "-", "--format", "jsonl"]).write_stdin(bytes));
    assert_eq!(said.code, 0, "{}", said.stderr);
    let result: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(labels(&[result]), [("-", "blue")]);
    let said = Said::by(place.infer().args(["classify", "-"]).write_stdin(""));
    said.fails(2, &["-: the file is empty"]);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let place = Workplace::new();
    for index in 0..40 {
        place.image(&format!("p/{index:02}.png"), RED);
    }
    for format in ["table", "json", "jsonl", "csv"] {
        let mut child = Command::new(place.infer().get_program())
            .args(["classify", "p", "--batch", "1", "--format", format])
            .current_dir(place.path(""))
            .env("ORT_DYLIB_PATH", crate::support::runtime())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""), "{format}");
    }
}
