//! Sending of everything in a run folder that the server lacks.

use std::env;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ferronnx_train::compare::settings_of;
use ferronnx_train::run::{RunConfig, RunFolder};
use ferronnx_train::trainer::EpochMetrics;
use serde_json::{Value, json};

use super::Target;
use super::client::Client;
use super::record::Record;
use crate::fetch::retry::Failure;

/// Parameters in one request, MLflow's limit.
const PARAMS: usize = 100;
/// Characters of a parameter's value: the limit of older servers.
const VALUE: usize = 500;
/// Files that are put among the artifacts.
const ARTIFACTS: [&str; 3] = ["report.html", "config.toml", "result.json"];

/// End of a run, in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The recipe has ended.
    Finished,
    /// An error ended training.
    Failed,
    /// Ctrl-C ended training.
    Killed,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A run folder and what its server has.
pub struct Sync {
    client: Client,
    folder: RunFolder,
    config: RunConfig,
    record: Record,
    end: Option<Status>,
    /// True once the server has the metrics of the result.
    result_sent: bool,
    /// Number of artifacts that the server has.
    artifacts_sent: usize,
    /// True once the server was told that the run goes on.
    reopened: bool,
    /// True once the server was told how the run ended.
    over: bool,
}

impl Sync {
    /// Begins, or goes on from `record`.
    pub fn new(target: &Target, folder: RunFolder, config: RunConfig, record: Record) -> Self {
        let reopened = record.run_id.is_none();
        let record = Record { closed: false, ..record };
        Self {
            client: Client::new(target),
            folder,
            config,
            record,
            end: None,
            result_sent: false,
            artifacts_sent: 0,
            reopened,
            over: false,
        }
    }

    /// Number of the server's answers so far.
    pub fn answers(&self) -> Arc<AtomicUsize> {
        self.client.answers()
    }

    /// Notes the end of an epoch, so that it has its time whenever it is sent.
    pub fn epoch(&mut self, epoch: usize, time: i64) {
        self.record.times.insert(epoch, time);
    }

    /// Notes the end of the run.
    pub fn end(&mut self, status: Status) {
        self.end = Some(status);
    }

    /// True if the server has everything, and knows how the run ended.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// URL of the run's page.
    pub fn page(&self) -> String {
        let Record { url, experiment_id, run_id, .. } = &self.record;
        let [experiment, run] = [experiment_id, run_id].map(|id| id.as_deref().unwrap_or_default());
        format!("{url}/#/experiments/{experiment}/runs/{run}")
    }

    /// Says what the server lacks, and how to send it.
    pub fn missing(&self, why: &str) -> String {
        let all = self.folder.metrics().map_or(0, |metrics| metrics.len());
        let epochs = match all.saturating_sub(self.record.epochs_sent) {
            0 => "the end of the run".into(),
            _ => format!("epochs {} to {all}", self.record.epochs_sent + 1),
        };
        let folder = self.folder.path("");
        format!("MLflow lacks {epochs} ({why}): train fit --resume {} sends the rest", folder.display())
    }

    /// Sends everything that the server lacks. Each part is recorded as soon as the server has it.
    pub fn run(&mut self) -> Result<(), Failure> {
        // First of all: a kill must not lose the times, which make sending twice harmless.
        self.save()?;
        let run_id = self.run_id()?;
        if !self.reopened {
            self.client.post("runs/update", &json!({ "run_id": run_id, "status": "RUNNING" }))?;
            self.reopened = true;
        }
        if !self.record.params_sent {
            self.params(&run_id)?;
        }
        let metrics = self.folder.metrics().map_err(|error| Failure::Final(error.to_string()))?;
        for epoch in metrics.iter().skip(self.record.epochs_sent) {
            self.metrics(&run_id, epoch)?;
        }
        match self.end {
            Some(status) if !self.over => self.close(&run_id, status),
            _ => Ok(()),
        }
    }

    /// Id of the MLflow run, which is created the first time.
    fn run_id(&mut self) -> Result<String, Failure> {
        if let Some(id) = &self.record.run_id {
            return Ok(id.clone());
        }
        let experiment = self.client.experiment(&self.record.experiment)?;
        let name = self.folder.path("").file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| self.config.dataset());
        let created = self.client.create_run(&experiment, &name, now(), &self.tags())?;
        self.record.experiment_id = Some(experiment);
        self.record.artifact_uri = created.artifact_uri;
        self.record.run_id = Some(created.run_id.clone());
        self.save()?;
        Ok(created.run_id)
    }

    fn tags(&self) -> Value {
        let user = env::var("USER").or_else(|_| env::var("USERNAME")).ok();
        let tags = [
            ("mlflow.source.type", Some("LOCAL".into())),
            ("mlflow.source.name", Some("train fit".into())),
            ("mlflow.user", user),
            ("ferronnx.version", Some(self.config.version.clone())),
            ("ferronnx.data", Some(self.config.dataset())),
        ];
        tags.into_iter().filter_map(|(key, value)| Some(json!({ "key": key, "value": value? }))).collect()
    }

    fn params(&mut self, run_id: &str) -> Result<(), Failure> {
        let param = |(name, value): (String, String)| {
            let key: String = name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
            json!({ "key": key, "value": shortened(&value) })
        };
        let params: Vec<Value> = settings_of(&self.config).into_iter().map(param).collect();
        for params in params.chunks(PARAMS) {
            self.client.post("runs/log-batch", &json!({ "run_id": run_id, "params": params }))?;
        }
        self.record.params_sent = true;
        self.save()
    }

    fn metrics(&mut self, run_id: &str, epoch: &EpochMetrics) -> Result<(), Failure> {
        let time = *self.record.times.entry(epoch.epoch).or_insert_with(now);
        let metric = |(name, value): (String, f64)| {
            let key: String = name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
            json!({ "key": key, "value": value, "timestamp": time, "step": epoch.epoch })
        };
        let metrics: Vec<Value> = epoch.scalars().into_iter().map(metric).collect();
        self.client.post("runs/log-batch", &json!({ "run_id": run_id, "metrics": metrics }))?;
        self.record.epochs_sent = epoch.epoch;
        self.record.times.remove(&epoch.epoch);
        self.save()
    }

    fn close(&mut self, run_id: &str, status: Status) -> Result<(), Failure> {
        let result = self.folder.result().map_err(|error| Failure::Final(error.to_string()))?;
        if let Some(result) = result
            && !self.result_sent
        {
            let values = [
                ("best_epoch", Some(result.best_epoch as f64)),
                ("accuracy/best_validation", Some(result.validation_accuracy)),
                ("accuracy/test", result.test_accuracy),
                ("accuracy/mirrored_test", result.mirrored_test_accuracy),
                ("macro_f1/test", result.test_macro_f1),
                ("map/test", result.test_map),
            ];
            let time = now();
            let metric = |(key, value): (&str, Option<f64>)| {
                Some(json!({ "key": key, "value": value?, "timestamp": time, "step": result.epochs }))
            };
            let metrics: Vec<Value> = values.into_iter().filter_map(metric).collect();
            self.client.post("runs/log-batch", &json!({ "run_id": run_id, "metrics": metrics }))?;
            self.result_sent = true;
        }
        for name in ARTIFACTS.into_iter().skip(self.artifacts_sent) {
            if let Ok(content) = fs::read(self.folder.path(name))
                && !self.client.put_artifact(&self.record.artifact_uri, name, &content)?
            {
                break;
            }
            self.artifacts_sent += 1;
        }
        let update = json!({ "run_id": run_id, "status": status.name(), "end_time": now() });
        self.client.post("runs/update", &update)?;
        // A run that was stopped goes on some day.
        self.record.closed = status == Status::Finished;
        self.over = true;
        self.save()
    }

    fn save(&self) -> Result<(), Failure> {
        let failed = |error| {
            Failure::Final(format!("cannot write {}: {error}", self.folder.path("mlflow.json").display()))
        };
        self.record.write(&self.folder).map_err(failed)
    }
}

/// True for characters that MLflow allows in names.
fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || "_-. :/".contains(c)
}

/// Cuts a value that is too long for MLflow, visibly.
fn shortened(value: &str) -> String {
    match value.chars().count() > VALUE {
        true => value.chars().take(VALUE - 1).chain(['…']).collect(),
        false => value.into(),
    }
}
