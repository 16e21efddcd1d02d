//! Metrics, the log, the page and the description of the routes.

use std::io::Read;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::{self, PATIENCE};
use crate::server::{Server, command, png};
use crate::support::{Model, RED, Workplace};

/// Value of the series that begins with `series`.
#[track_caller]
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no {series} in:\n{metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn requests_are_counted_by_their_outcome() {
    let server = Server::start(&["--queue", "7"]);
    for _ in 0..3 {
        server.is_well();
    }
    assert_eq!(server.post("/v1/classify", "image/png", b"no image").unwrap().status, 400);
    assert_eq!(server.post("/v1/classify?model=mine", "image/png", &png(RED)).unwrap().status, 404);
    assert_eq!(server.post("/v1/classify?version=9", "image/png", &png(RED)).unwrap().status, 404);
    let tensor = br#"{"inputs":[{"name":"input","shape":[2,3,16,16],"datatype":"FP32","data":[0]}]}"#;
    assert_eq!(server.post("/v2/models/model/infer", "application/json", tensor).unwrap().status, 400);
    let zeros = vec!["0"; 2 * 3 * 16 * 16].join(",");
    let tensor = format!(
        r#"{{"inputs":[{{"name":"input","shape":[2,3,16,16],"datatype":"FP32","data":[{zeros}]}}]}}"#
    );
    let answer = server.post("/v2/models/model/infer", "application/json", tensor.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = server.get("/metrics");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let metrics = answer.text();
    let requests = |model: &str, protocol: &str, outcome: &str| {
        let version = if model.is_empty() { "" } else { "1" };
        let labels =
            format!(r#"model="{model}",version="{version}",protocol="{protocol}",outcome="{outcome}""#);
        value(&metrics, &format!("infer_requests_total{{{labels}}}"))
    };
    assert_eq!((requests("model", "classify", "ok"), requests("model", "classify", "refused")), (3.0, 1.0));
    assert_eq!(requests("", "classify", "refused"), 2.0);
    assert_eq!((requests("model", "http", "ok"), requests("model", "http", "refused")), (1.0, 1.0));
    let of_model = |name: &str| value(&metrics, &format!("{name}{{model=\"model\",version=\"1\"}}"));
    assert_eq!(of_model("infer_images_total"), 5.0, "three images and two rows");
    assert_eq!((of_model("infer_decode_seconds_count"), of_model("infer_compute_seconds_count")), (3.0, 4.0));
    assert_eq!((of_model("infer_batch_size_sum"), of_model("infer_batch_size_count")), (5.0, 4.0));
    assert_eq!(
        (value(&metrics, "infer_queue_length "), value(&metrics, "infer_queue_capacity ")),
        (0.0, 7.0)
    );
    assert!(value(&metrics, "infer_connections ") >= 1.0);
    assert!(!metrics.contains("mine"), "a client's word is a label");
}

#[test]
fn a_line_in_the_log_for_each_request() {
    let server = Server::start(&["--log", "json"]);
    let request =
        format!("GET /v1/models?secret=1 HTTP/1.1\r\nhost: test\r\nx-request-id: {}\r\n\r\n", "my-id");
    let answer = client::ask(server.address, request.as_bytes()).unwrap();
    assert!(answer.head.contains("x-request-id: my-id\r\n"), "{}", answer.head);
    let answer = server.classify().unwrap();
    let made = answer.head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap().to_owned();
    let logged = |id: &str| -> Option<Value> {
        let lines = server.output();
        let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
        lines.find(|line| line["id"] == id)
    };
    server.wait_until("logged", || logged("my-id").is_some() && logged(&made).is_some());
    let line = logged(&made).unwrap();
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&"POST".into(), &"/v1/classify".into(), &200.into())
    );
    assert_eq!(
        (&line["model"], &line["version"], &line["images"]),
        (&"model".into(), &"1".into(), &1.into())
    );
    assert!(line["ms"].as_f64().unwrap() > 0.0 && line["level"] == "INFO");
    assert!(!server.output().contains("secret"), "the query is logged");
}

#[test]
fn a_quiet_log_has_no_requests() {
    let server = Server::start(&["--log-level", "warn"]);
    server.is_well();
    thread::sleep(Duration::from_millis(100));
    assert!(!server.output().contains("/v1/classify\""), "{}", server.output());
}

/// A reader of standard error that takes nothing stops neither requests nor the end.
#[test]
fn nobody_reads_the_log() {
    let place = Workplace::without_model();
    std::fs::write(place.path("model.onnx"), Model::default().certified()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut child = command(&place, &["--listen", &address.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut unread = child.stderr.take().unwrap();
    let started = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < PATIENCE && child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(20));
    }
    // More than a pipe holds.
    let path = format!("/{}", "x".repeat(4000));
    for _ in 0..300 {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(client::ask(address, request.as_bytes()).unwrap().status, 404);
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let stopping = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(stopping.elapsed() < PATIENCE, "the log keeps it from ending");
        thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    let mut text = Vec::new();
    unread.read_to_end(&mut text).unwrap();
    assert!(text.len() > 32_000, "the pipe was not full");
}

#[test]
fn the_page_loads_from_here_only() {
    let server = Server::start(&[]);
    let page = server.get("/");
    assert!(page.head.contains("content-security-policy: default-src 'self'"), "{}", page.head);
    let text = page.text();
    let addresses = text.split(['"', '\'']).filter(|part| part.starts_with("/page/"));
    let mut found = 0;
    for address in addresses {
        assert_eq!(server.get(address).status, 200, "{address}");
        found += 1;
    }
    assert!(found >= 3, "{text}");
    assert!(!text.contains("style=") && !text.contains("<script>"), "the policy forbids what is inside");
}

#[test]
fn features_are_given_when_they_are_asked_for() {
    let place = Workplace::without_model();
    std::fs::write(place.path("model.onnx"), Model::with_features().certified()).unwrap();
    let server = Server::of(place, &[]);
    let models: Value = serde_json::from_slice(&server.get("/v1/models").body).unwrap();
    assert_eq!(
        (&models["models"][0]["features"], &models["models"][0]["attention"]),
        (&true.into(), &false.into()),
        "{models}"
    );
    let photo = png(RED);
    let ask = |query: &str| -> Value {
        let answer = server.post(&format!("/v1/classify{query}"), "image/png", &photo).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    };
    assert!(ask("")[0].get("features").is_none());
    let found = ask("?features=true");
    let features: Vec<f64> =
        found[0]["features"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    // Channel c of the network looks at colour c mod 3.
    let [red, green, blue] = RED.map(|value| f64::from(value) / 255.0);
    assert_eq!(features.len(), 8);
    assert!((features[3] - (2.0 * red - 0.5 * (green + blue))).abs() < 2e-3, "{features:?}");
    assert_eq!((features[1], features[2]), (0.0, 0.0));

    let zeros = vec!["0.25"; 3 * 16 * 16].join(",");
    let request = format!(
        r#"{{"inputs":[{{"name":"input","shape":[1,3,16,16],"datatype":"FP32","data":[{zeros}]}}],"outputs":[{{"name":"features"}}]}}"#
    );
    let answer = server.post("/v2/models/model/infer", "application/json", request.as_bytes()).unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&answer["outputs"][0]["name"], &answer["outputs"][0]["shape"]),
        (&"features".into(), &serde_json::json!([1, 8]))
    );
    assert!((answer["outputs"][0]["data"][0].as_f64().unwrap() - 0.25).abs() < 1e-6, "{answer}");

    let plain = Server::start(&[]);
    let answer = plain.post("/v1/classify?features=true", "image/png", &photo).unwrap();
    assert!(answer.status == 400 && answer.text().contains("has no output of features"), "{answer:?}");
}

#[test]
fn described_routes_exist() {
    let server = Server::start(&[]);
    let described: Value = serde_json::from_slice(&server.get("/openapi.json").body).unwrap();
    assert_eq!(described["openapi"], "3.1.0");
    for (path, methods) in described["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "model").replace("{version}", "1").replace("{file}", "page.js");
        if methods.get("get").is_some() {
            let answer = server.get(&path);
            assert_eq!(answer.status, 200, "{path}");
        } else {
            let answer = server.post(&path, "application/json", b"").unwrap();
            assert!([400, 415].contains(&answer.status), "{path}: {answer:?}");
            assert_eq!(server.get(&path).status, 405, "{path}");
        }
    }
}
