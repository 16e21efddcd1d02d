//! Tests of `infer bench`: output formats, and comparison with an earlier benchmark.

use std::fs;

use serde_json::Value;

use crate::support::{RED, Said, Workplace, runtime};

const QUICK: [&str; 6] = ["--seconds", "0.05", "--warm-up", "0", "--device", "cpu"];

fn measured(place: &Workplace, args: &[&str]) -> Said {
    Said::by(place.infer().arg("bench").args(QUICK).args(args))
}

#[test]
fn json_has_the_contracts_keys() {
    let place = Workplace::new();
    place.image("photos/1.png", RED);
    place.image("photos/2.jpg", RED);
    let args = ["--batch", "1,3", "--threads", "1,2", "--images", "photos", "--format", "json"];
    let said = measured(&place, &args);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    for key in ["cpu", "cores", "memory_bytes", "system", "infer", "onnxruntime"] {
        assert!(!found["environment"][key].is_null(), "{key}");
    }
    assert_eq!(found["model"]["file"], "model.onnx");
    let steps = ["library", "session", "first_pass"].map(|step| found["start_ms"][step].as_f64().unwrap());
    let cold_start = found["cold_start_ms"].as_f64().unwrap();
    assert!(steps.iter().all(|&step| step > 0.0) && steps.iter().sum::<f64>() <= cold_start, "{steps:?}");
    let runs = found["runs"].as_array().unwrap();
    let combinations: Vec<_> =
        runs.iter().map(|run| (run["threads"].as_u64().unwrap(), run["batch"].as_u64().unwrap())).collect();
    assert_eq!(combinations, [(1, 1), (1, 3), (2, 1), (2, 3)]);
    for run in runs {
        let latency = |key: &str| run["latency_ms"][key].as_f64().unwrap();
        let order = ["min", "p50", "p90", "p95", "p99", "max"].map(latency);
        assert!(order.is_sorted() && order[0] > 0.0, "{run}");
        let throughput = 1e3 * run["batch"].as_f64().unwrap() / latency("mean");
        assert!((run["throughput_ips"].as_f64().unwrap() / throughput - 1.0).abs() < 1e-9);
        assert!(run["first_pass_ms"].as_f64().unwrap() > 0.0);
        assert!(run["iterations"].as_u64().unwrap() >= 10);
        assert!(run["placement"]["CPUExecutionProvider"].as_u64().unwrap() > 0);
        assert!(run["stable"].is_boolean() && run["provider"] == "CPUExecutionProvider");
    }
    let images = &found["pictures"];
    assert_eq!((&images["count"], &images["end_to_end_batch"]), (&2.into(), &3.into()));
    assert!(images["decode_ms"]["p50"].as_f64().unwrap() > 0.0);
    assert!(images["end_to_end_ips"].as_f64().unwrap() > 0.0);
}

/// A CPU quota and an affinity are limits of the same kind; only the second can be set without being root.
#[test]
#[cfg(target_os = "linux")]
fn the_default_threads_are_those_that_the_process_may_use() {
    let place = Workplace::new();
    let program = place.infer().get_program().to_owned();
    let mut limited = assert_cmd::Command::new("taskset");
    limited
        .args(["--cpu-list", "0"])
        .arg(program)
        .arg("bench")
        .args(QUICK)
        .args(["--batch", "1", "--format", "json"]);
    let said = Said::by(limited.current_dir(place.path("")).env("ORT_DYLIB_PATH", runtime()));
    let found: Value = serde_json::from_str(&said.stdout).expect(&said.stderr);
    assert_eq!((&found["environment"]["cores"], &found["runs"][0]["threads"]), (&1.into(), &1.into()));
}

#[test]
fn tables_for_people_documents_and_spreadsheets() {
    let place = Workplace::new();
    let said = measured(&place, &["--batch", "2"]);
    assert!(said.stdout.lines().all(|line| line.chars().count() <= 80), "{}", said.stdout);
    for part in [
        "cold start",
        "first result: library ",
        "operators on CPUExecutionProvider",
        "images/s",
        "times of a pass in ms",
    ] {
        assert!(said.stdout.contains(part), "`{part}` is not in:\n{}", said.stdout);
    }
    let csv = measured(&place, &["--batch", "1,2", "--format", "csv"]).stdout;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap().get(6), Some("p50_ms"));
    let rows: Vec<_> = reader.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.iter().map(|row| row.get(2).unwrap()).collect::<Vec<_>>(), ["1", "2"]);
    let markdown = measured(&place, &["--batch", "1", "--format", "markdown"]).stdout;
    let rows: Vec<_> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 3, "{markdown}");
    assert!(rows.iter().all(|row| row.matches('|').count() == rows[0].matches('|').count()), "{markdown}");
}

#[test]
fn the_page_has_its_plots() {
    let place = Workplace::new();
    let said = measured(&place, &["--batch", "1,2,4", "--threads", "1,2", "--report", "bench.html"]);
    assert_eq!(said.stderr, "report: bench.html\n");
    let page = fs::read_to_string(place.path("bench.html")).unwrap();
    for part in ["latency, ms (median)", "throughput, images/s", "distribution", "Lowest latency"] {
        assert!(page.contains(part), "`{part}` is not in the page");
    }
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(!page.contains("://"), "it asks for nothing elsewhere");
}

#[test]
fn a_regression_is_marked_and_can_fail() {
    let place = Workplace::new();
    let said = measured(&place, &["--batch", "1", "--threads", "1", "--format", "json"]);
    let mut old: Value = serde_json::from_str(&said.stdout).unwrap();
    let mut compared = |p50: f64, args: &[&str]| {
        old["runs"][0]["latency_ms"]["p50"] = p50.into();
        fs::write(place.path("old.json"), old.to_string()).unwrap();
        let compare = ["--batch", "1", "--threads", "1", "--compare", "old.json"];
        measured(&place, &[&compare[..], args].concat())
    };
    // Today takes some microseconds: far more than a nanosecond, far less than an hour.
    compared(1e-6, &["--fail-above", "1.5"])
        .fails(1, &["slower than --fail-above 1.5", "CPU, 1 threads, batch 1"]);
    let slower = compared(1e-6, &[]);
    assert!(slower.code == 0 && slower.stdout.contains("x slower"), "{}", slower.stdout);
    let faster = compared(3.6e6, &["--fail-above", "1.5"]);
    assert!(faster.code == 0 && faster.stdout.contains("x faster"), "{}", faster.stdout);

    let other = measured(&place, &["--batch", "2", "--threads", "1", "--compare", "old.json"]);
    assert!(other.code == 0 && other.stderr.contains("no combination"), "{}", other.stderr);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let place = Workplace::new();
    measured(&place, &["--images", "none"]).fails(2, &["--images", "none"]);
    fs::write(place.path("old.json"), "{}").unwrap();
    measured(&place, &["--compare", "old.json"]).fails(2, &["old.json", "not what `infer bench"]);
    Said::by(place.infer().args(["bench", "--device", "cuda"]))
        .fails(2, &["--device cuda", "no CUDA provider"]);
    assert_eq!(measured(&place, &["--batch", "0"]).code, 2);
    assert_eq!(measured(&place, &["--fail-above", "1.1"]).code, 2, "it needs --compare");
}
