//! Tests of the metrics.

use super::*;

fn labels(model: &str) -> ModelLabels {
    ModelLabels { model: model.into(), version: "1".into() }
}

/// Value of the series that begins with `series`.
fn value(text: &str, series: &str) -> f64 {
    let mut lines = text.lines().filter(|line| line.starts_with(series));
    let line = lines.next().unwrap_or_else(|| panic!("no {series} in:\n{text}"));
    assert_eq!(lines.next(), None, "{series} is not unique");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn everything_is_counted() {
    let metrics = Metrics::default();
    let model = metrics.model(labels("a"));
    let millis = Duration::from_millis;
    let timings = Timings { decode: millis(3), queue: millis(1), compute: millis(30), ..Timings::default() };
    model.answer(4, &timings);
    model.pass(4);
    model.request(Protocol::Http, "ok", millis(40));
    model.request(Protocol::Grpc, "deadline", millis(2000));
    metrics.request_without_model(Protocol::Classify, "refused");
    metrics.reloaded(&labels("a"), false);
    let _open = metrics.connection();
    drop(metrics.connection());
    let text = metrics.text(2, 64, [ModelInfo { labels: labels("a"), ..ModelInfo::default() }]);
    let of_a_with =
        |name: &str, more: &str| value(&text, &format!("infer_{name}{{model=\"a\",version=\"1\"{more}"));
    let of_a = |name: &str| of_a_with(name, "");
    assert_eq!(of_a("images_total"), 4.0);
    assert_eq!(of_a("model_info"), 1.0);
    assert_eq!((value(&text, "infer_queue_length "), value(&text, "infer_queue_capacity ")), (2.0, 64.0));
    assert_eq!((of_a("decode_seconds_sum"), of_a("preprocess_seconds_count")), (0.003, 0.0));
    assert_eq!((of_a("batch_size_sum"), of_a("batch_size_count")), (4.0, 1.0));
    assert_eq!(of_a("reloads_total"), 1.0);
    let bucket = |bound: &str| of_a_with("request_seconds_bucket", &format!(",le=\"{bound}\""));
    assert_eq!([bucket("0.025"), bucket("0.05"), bucket("2.5"), bucket("+Inf")], [0.0, 1.0, 2.0, 2.0]);
    let requests = |model: &str, version: &str, protocol: &str, outcome: &str| {
        let labels = format!("model=\"{model}\",version=\"{version}\",protocol=\"{protocol}\"");
        value(&text, &format!("infer_requests_total{{{labels},outcome=\"{outcome}\"}}"))
    };
    assert_eq!(requests("a", "1", "http", "ok"), 1.0);
    assert_eq!(requests("a", "1", "grpc", "deadline"), 1.0);
    assert_eq!(requests("", "", "classify", "refused"), 1.0);
    assert_eq!(value(&text, "infer_connections "), 1.0);
    #[cfg(target_os = "linux")]
    assert!(value(&text, "process_resident_memory_bytes ") > 1e6);
}

#[test]
fn a_file_that_was_replaced_is_served_no_more() {
    let metrics = Metrics::default();
    let info =
        |sha256: &str| ModelInfo { labels: labels("a"), sha256: sha256.into(), ..ModelInfo::default() };
    assert!(metrics.text(0, 1, [info("old")]).contains("sha256=\"old\""));
    assert!(!metrics.text(0, 1, [info("new")]).contains("sha256=\"old\""));
}
