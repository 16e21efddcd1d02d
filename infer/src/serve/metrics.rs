//! Metrics of a server in the text format of [Prometheus].
//!
//! Models and versions in labels are those that the server has, never what a client sent, so that there are no more series
//! than the models need.
//!
//! [Prometheus]: https://prometheus.io/docs/instrumenting/exposition_formats/

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::engine::Timings;

/// Content type of [`Metrics::text`].
pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Upper bounds of durations, in seconds; the last bucket has what takes longer.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Upper bounds of batch sizes.
const ROWS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Metrics of a server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    images: Family<ModelLabels, Counter>,
    batches: Family<ModelLabels, Histogram>,
    steps: Steps,
    reloads: Family<ReloadLabels, Counter>,
    connections: Gauge,
    scraped: Mutex<Scraped>,
}

/// Durations of the steps of a request.
#[derive(Debug)]
struct Steps {
    decode: Family<ModelLabels, Histogram>,
    preprocess: Family<ModelLabels, Histogram>,
    queue: Family<ModelLabels, Histogram>,
    compute: Family<ModelLabels, Histogram>,
    request: Family<ModelLabels, Histogram>,
}

/// Values that are set when metrics are asked for, by one request at a time.
#[derive(Debug, Default)]
struct Scraped {
    queued: Gauge,
    capacity: Gauge,
    info: Family<InfoLabels, Gauge>,
    memory: Gauge,
}

/// Metrics of one model: its series, found once, so that nothing is looked up for a request but its outcome.
#[derive(Debug)]
pub(crate) struct ModelMetrics {
    labels: ModelLabels,
    requests: Family<RequestLabels, Counter>,
    images: Counter,
    batches: Histogram,
    decode: Histogram,
    preprocess: Histogram,
    queue: Histogram,
    compute: Histogram,
    request: Histogram,
}

/// Name and version of a model that the server has; empty for a request that names none of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub(crate) struct ModelLabels {
    pub(crate) model: String,
    pub(crate) version: String,
}

/// Protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    /// `POST /v1/classify`.
    Classify,
    /// Open Inference Protocol over HTTP.
    Http,
    /// Open Inference Protocol over gRPC.
    Grpc,
}

impl EncodeLabelValue for Protocol {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Classify => "classify",
            Self::Http => "http",
            Self::Grpc => "grpc",
        };
        name.encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    version: String,
    protocol: Protocol,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    model: String,
    version: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InfoLabels {
    model: String,
    version: String,
    provider: &'static str,
    sha256: String,
}

/// Model that is served when metrics are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelInfo {
    pub(crate) labels: ModelLabels,
    /// Execution provider by ONNX Runtime's name.
    pub(crate) provider: &'static str,
    /// SHA-256 of the weights, as verified by the certificate; empty without one.
    pub(crate) sha256: String,
}

impl Default for Metrics {
    fn default() -> Self {
        fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
            registry.register(name, help, metric.clone());
            metric
        }
        fn seconds(registry: &mut Registry, name: &str, help: &str) -> Family<ModelLabels, Histogram> {
            let family = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
            family
        }
        let mut all = Registry::default();
        // The name that Prometheus's own client libraries give it.
        let help = "Resident memory of the process, in bytes";
        let memory = add(&mut all, "process_resident_memory_bytes", help, Gauge::default());
        let infer = all.sub_registry_with_prefix("infer");
        let rows = Family::new_with_constructor((|| Histogram::new(ROWS)) as fn() -> Histogram);
        let scraped = Scraped {
            queued: add(infer, "queue_length", "Images accepted and not answered yet", Gauge::default()),
            capacity: add(infer, "queue_capacity", "Images accepted at most", Gauge::default()),
            info: add(infer, "model_info", "Models that are served, always 1", Family::default()),
            memory,
        };
        let steps = Steps {
            decode: seconds(infer, "decode", "Time to decode an image"),
            preprocess: seconds(infer, "preprocess", "Time to resize and crop an image"),
            queue: seconds(infer, "queue", "Time in the queue"),
            compute: seconds(infer, "compute", "Time of a pass of the network"),
            request: seconds(infer, "request", "Time from the head of a request to its answer"),
        };
        Self {
            requests: add(infer, "requests", "Requests by outcome", Family::default()),
            images: add(infer, "images", "Images and rows of tensors answered", Family::default()),
            batches: add(infer, "batch_size", "Rows in a pass of the network", rows),
            reloads: add(infer, "reloads", "Model files read again, by outcome", Family::default()),
            connections: add(infer, "connections", "Open connections", Gauge::default()),
            scraped: Mutex::new(scraped),
            steps,
            registry: all,
        }
    }
}

impl Metrics {
    /// Metrics of the model with these labels; they go on where those of an earlier file with the same labels ended.
    pub(crate) fn model(&self, labels: ModelLabels) -> ModelMetrics {
        let Steps { decode, preprocess, queue, compute, request } = &self.steps;
        let [decode, preprocess, queue, compute, request] =
            [decode, preprocess, queue, compute, request].map(|step| step.get_or_create_owned(&labels));
        ModelMetrics {
            requests: self.requests.clone(),
            images: self.images.get_or_create_owned(&labels),
            batches: self.batches.get_or_create_owned(&labels),
            decode,
            preprocess,
            queue,
            compute,
            request,
            labels,
        }
    }

    /// Counts a request that names no model, or was refused before its model was looked for.
    pub(crate) fn request_without_model(&self, protocol: Protocol, outcome: &'static str) {
        count(&self.requests, &ModelLabels::default(), protocol, outcome);
    }

    /// Counts a model file that was read again while the server runs, and whether it is served now.
    pub(crate) fn reloaded(&self, labels: &ModelLabels, is_served: bool) {
        let ModelLabels { model, version } = labels.clone();
        let outcome = if is_served { "ok" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabels { model, version, outcome }).inc();
    }

    /// Counts a connection until the result is dropped.
    pub(crate) fn connection(&self) -> Connection {
        self.connections.inc();
        Connection(self.connections.clone())
    }

    /// Text of all metrics. `queued` of at most `capacity` images are accepted and not answered yet.
    pub(crate) fn text(
        &self,
        queued: usize,
        capacity: usize,
        models: impl IntoIterator<Item = ModelInfo>,
    ) -> String {
        let scraped = self.scraped.lock().unwrap_or_else(PoisonError::into_inner);
        let Scraped { queued: length, capacity: most, info, memory } = &*scraped;
        length.set(queued as i64);
        most.set(capacity as i64);
        // A file that was replaced is not served any more.
        info.clear();
        for ModelInfo { labels: ModelLabels { model, version }, provider, sha256 } in models {
            info.get_or_create(&InfoLabels { model, version, provider, sha256 }).set(1);
        }
        memory.set(resident_bytes().unwrap_or(0));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }
}

impl ModelMetrics {
    /// Name and version of the model.
    pub(crate) fn labels(&self) -> &ModelLabels {
        &self.labels
    }

    /// Counts a request with its outcome, and the time from its head to its answer.
    pub(crate) fn request(&self, protocol: Protocol, outcome: &'static str, time: Duration) {
        count(&self.requests, &self.labels, protocol, outcome);
        self.request.observe(time.as_secs_f64());
    }

    /// Counts `rows` images or rows of a tensor that were answered, and the times of their steps.
    pub(crate) fn answer(&self, rows: usize, timings: &Timings) {
        self.images.inc_by(rows as u64);
        let steps = [
            (&self.decode, timings.decode),
            (&self.preprocess, timings.preprocess),
            (&self.queue, timings.queue),
            (&self.compute, timings.compute),
        ];
        // Tensors are neither decoded nor resized.
        for (histogram, time) in steps.into_iter().filter(|(_, time)| !time.is_zero()) {
            histogram.observe(time.as_secs_f64());
        }
    }

    /// Counts a pass of the network over `rows`.
    pub(crate) fn pass(&self, rows: usize) {
        self.batches.observe(rows as f64);
    }
}

fn count(
    requests: &Family<RequestLabels, Counter>,
    labels: &ModelLabels,
    protocol: Protocol,
    outcome: &'static str,
) {
    let ModelLabels { model, version } = labels.clone();
    requests.get_or_create(&RequestLabels { model, version, protocol, outcome }).inc();
}

/// Connection that is counted as open until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection(Gauge);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Resident memory of this process, in bytes, where the system tells it as Linux does.
fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()? * 1024)
}

#[cfg(test)]
mod tests;
