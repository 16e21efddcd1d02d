//! The folder of a run, and the files in it.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ferronnx_models::Weights;
use ferronnx_models::checkpoint;
use serde::Serialize;

use super::outcome::{Evaluated, EvaluatedLabels};
use super::{RunConfig, RunError, RunPlan, RunResult};
use crate::trainer::{EpochMetrics, Position};

const CONFIG: &str = "config.toml";
const PLAN: &str = "plan.json";
const METRICS: &str = "metrics.jsonl";
const RESULT: &str = "result.json";
const BEST: &str = "best.safetensors";
const PREDICTIONS: &str = "predictions.csv";

/// The folder of a run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    /// False for the ranks that leave writing to the first one.
    pub(super) writes: bool,
}

impl RunFolder {
    /// Refers to a folder that may not exist yet.
    pub(super) fn at(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().into(), writes: true }
    }

    /// True if a run has been begun here.
    pub fn exists(&self) -> bool {
        self.path(CONFIG).exists()
    }

    /// Creates the folder of a new run with its configuration.
    pub(super) fn create(&self, config: &RunConfig) -> Result<(), RunError> {
        Self::check_free(&self.path)?;
        fs::create_dir_all(&self.path).map_err(|source| self.io("cannot create", "", source))?;
        let text = toml::to_string(config).map_err(|error| self.encode(CONFIG, error))?;
        self.write(CONFIG, text.as_bytes())
    }

    /// Checks that `path` is empty or does not exist.
    ///
    /// # Errors
    /// [`RunError::Exists`] when it holds something, [`RunError::Io`] when it cannot be listed.
    pub fn check_free(path: impl AsRef<Path>) -> Result<(), RunError> {
        let path = path.as_ref();
        match fs::read_dir(path).map(Iterator::count) {
            Ok(0) => Ok(()),
            Ok(_) => Err(RunError::Exists(path.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RunError::Io { action: "cannot use", path: path.into(), source }),
        }
    }

    /// Opens the folder of an earlier run and reads its configuration.
    ///
    /// # Errors
    /// [`RunError::NotARun`] without `config.toml`, [`RunError::Damaged`] when it is not a configuration.
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, RunConfig), RunError> {
        let run = Self::at(path);
        if !run.exists() {
            return Err(RunError::NotARun(run.path));
        }
        let config: RunConfig =
            toml::from_str(&run.read(CONFIG)?).map_err(|error| run.damaged(CONFIG, error))?;
        config.check().map_err(|error| run.damaged(CONFIG, error))?;
        Ok((run, config))
    }

    /// Path of the file `name` in the folder; of the folder itself when `name` is empty.
    pub fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    /// Appends an epoch to `metrics.jsonl`.
    pub(super) fn record(&self, metrics: &EpochMetrics) -> Result<(), RunError> {
        if !self.writes {
            return Ok(());
        }
        let mut line = serde_json::to_vec(metrics).map_err(|error| self.encode(METRICS, error))?;
        line.push(b'\n');
        let file = OpenOptions::new().create(true).append(true).open(self.path(METRICS));
        file.and_then(|mut file| file.write_all(&line))
            .map_err(|source| self.io("cannot write", METRICS, source))
    }

    /// Checks that the folder has what the saved state at `position` builds on: all metrics, and the best weights.
    pub(super) fn check_saved(&self, position: &Position) -> Result<(), RunError> {
        let lacks = |name: &str, lacks: String| Err(RunError::Incomplete { path: self.path(name), lacks });
        let recorded = self.metrics()?.len();
        if recorded < position.epoch {
            return lacks(METRICS, format!("has {recorded} of the {} epochs so far", position.epoch));
        }
        if position.best.epoch > 0 && !self.path(BEST).exists() {
            return lacks(
                BEST,
                format!("is missing: it holds the weights of the best epoch, {}", position.best.epoch),
            );
        }
        Ok(())
    }

    /// Removes all but the first `epochs` from `metrics.jsonl`: the others are trained again.
    pub(super) fn truncate_metrics(&self, epochs: usize) -> Result<(), RunError> {
        if !self.path(METRICS).exists() {
            return Ok(());
        }
        let text = self.read(METRICS)?;
        let kept: String =
            text.split_inclusive('\n').filter(|line| line.ends_with('\n')).take(epochs).collect();
        if kept == text { Ok(()) } else { self.write(METRICS, kept.as_bytes()) }
    }

    /// Reads the epochs so far; a last line that a kill cut short is left out.
    ///
    /// # Errors
    /// [`RunError::Io`] and [`RunError::Damaged`].
    pub fn metrics(&self) -> Result<Vec<EpochMetrics>, RunError> {
        if !self.path(METRICS).exists() {
            return Ok(Vec::new());
        }
        let text = self.read(METRICS)?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = complete.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().map_err(|error| self.damaged(METRICS, error))
    }

    /// Replaces `report.html`.
    pub(crate) fn write_report(&self, page: &str) -> Result<(), RunError> {
        self.write("report.html", page.as_bytes())
    }

    /// Reads the text of `config.toml`.
    pub(crate) fn config_text(&self) -> Result<String, RunError> {
        self.read(CONFIG)
    }

    /// Writes `plan.json`.
    pub(super) fn write_plan(&self, plan: &RunPlan) -> Result<(), RunError> {
        self.write_json(PLAN, plan)
    }

    /// Reads `plan.json`.
    ///
    /// # Errors
    /// [`RunError::Io`] and [`RunError::Damaged`].
    pub fn plan(&self) -> Result<RunPlan, RunError> {
        serde_json::from_str(&self.read(PLAN)?).map_err(|error| self.damaged(PLAN, error))
    }

    /// Replaces the weights of the best epoch.
    pub(super) fn save_best(&self, weights: &Weights) -> Result<(), RunError> {
        match self.writes {
            true => Ok(checkpoint::save(weights, self.path(BEST))?),
            false => Ok(()),
        }
    }

    /// Loads the best weights, or the last ones of a run that was stopped in its first epoch, and names their file.
    ///
    /// # Errors
    /// [`RunError::NoWeights`] when none were saved, [`RunError::Checkpoint`] when they cannot be read.
    pub fn weights(&self) -> Result<(Weights, PathBuf), RunError> {
        let file = [BEST, "last/weights.safetensors"]
            .map(|name| self.path(name))
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| RunError::NoWeights(self.path.clone()))?;
        Ok((checkpoint::load(&file)?, file))
    }

    /// Writes `result.json`.
    pub(super) fn finish(&self, result: &RunResult) -> Result<(), RunError> {
        self.write_json(RESULT, result)
    }

    /// Reads `result.json`; `None` while the run has not ended.
    ///
    /// # Errors
    /// [`RunError::Io`] and [`RunError::Damaged`].
    pub fn result(&self) -> Result<Option<RunResult>, RunError> {
        if !self.path(RESULT).exists() {
            return Ok(None);
        }
        serde_json::from_str(&self.read(RESULT)?).map(Some).map_err(|error| self.damaged(RESULT, error))
    }

    /// Writes `predictions.csv`, a line for each evaluated image: path below the folder of images, label, predicted,
    /// probability.
    ///
    /// In a multi-label task labels are separated by `;`, and each class has a column with its probability.
    pub(super) fn write_predictions(
        &self,
        evaluated: &Evaluated<'_>,
        config: &RunConfig,
    ) -> Result<(), RunError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let written = match &evaluated.labels {
            None => single_labels(&mut writer, evaluated, config),
            Some(labels) => label_sets(&mut writer, evaluated, labels, config),
        };
        let finish = |()| writer.into_inner().map_err(|error| error.into_error().into());
        let bytes = written.and_then(finish).map_err(|error| self.encode(PREDICTIONS, error))?;
        self.write(PREDICTIONS, &bytes)
    }

    pub(super) fn read(&self, name: &str) -> Result<String, RunError> {
        fs::read_to_string(self.path(name)).map_err(|source| self.io("cannot read", name, source))
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        if !self.writes {
            return Ok(());
        }
        ferronnx_models::files::write_atomically(self.path(name), |out| out.write_all(bytes))
            .map_err(|source| self.io("cannot write", name, source))
    }

    pub(super) fn write_json(&self, name: &str, record: &impl Serialize) -> Result<(), RunError> {
        let json = serde_json::to_vec_pretty(record).map_err(|error| self.encode(name, error))?;
        self.write(name, &json)
    }

    fn io(&self, action: &'static str, name: &str, source: io::Error) -> RunError {
        RunError::Io { action, path: self.path(name), source }
    }

    pub(crate) fn damaged(&self, name: &str, source: impl Error + Send + Sync + 'static) -> RunError {
        RunError::Damaged { path: self.path(name), source: source.into() }
    }

    pub(super) fn encode(&self, name: &str, source: impl Error + Send + Sync + 'static) -> RunError {
        RunError::Encode { path: self.path(name), source: source.into() }
    }
}

type Table = csv::Writer<Vec<u8>>;

fn single_labels(
    writer: &mut Table,
    evaluated: &Evaluated<'_>,
    config: &RunConfig,
) -> Result<(), csv::Error> {
    let (labels, set) = (&config.labels, evaluated.set);
    writer.write_record(["path", "label", "predicted", "probability"])?;
    for prediction in &evaluated.evaluation.predictions {
        writer.write_record([
            &config.short(set.path(prediction.index)).to_string_lossy(),
            labels[set.label(prediction.index)].as_str(),
            &labels[prediction.class],
            &prediction.probability.to_string(),
        ])?;
    }
    Ok(())
}

fn label_sets(
    writer: &mut Table,
    evaluated: &Evaluated<'_>,
    found: &EvaluatedLabels,
    config: &RunConfig,
) -> Result<(), csv::Error> {
    let labels = &config.labels;
    let names = |is: &[bool]| {
        let chosen = labels.iter().zip(is).filter(|(_, is)| **is);
        chosen.map(|(label, _)| label.as_str()).collect::<Vec<_>>().join(";")
    };
    let columns = labels.iter().map(|label| format!("probability of {label}"));
    writer.write_record(["path", "label", "predicted"].map(String::from).into_iter().chain(columns))?;
    for (prediction, scores) in evaluated.evaluation.predictions.iter().zip(&found.scores) {
        let path = config.short(evaluated.set.path(prediction.index)).to_string_lossy().into_owned();
        let start = [path, names(&scores.actual), names(&scores.selected)];
        writer.write_record(start.into_iter().chain(scores.probabilities.iter().map(ToString::to_string)))?;
    }
    Ok(())
}
