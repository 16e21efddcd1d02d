//! What a run leaves behind: one folder with everything to repeat it, and what came of it.
//!
//! | file | what |
//! |---|---|
//! | `config.toml` | everything needed to repeat the run |
//! | `plan.json` | a [`RunPlan`]: what was loaded, and what learns in which phase |
//! | `metrics.jsonl` | one [`EpochMetrics`] a line |
//! | `best.safetensors` | weights of the epoch with the best validation accuracy |
//! | `last/` | what the run goes on from: weights, optimizer, position |
//! | `result.json` | a [`RunResult`], once the run has ended |
//! | `predictions.csv` | what libtorch says of every test image, with the best weights |
//! | `report.html` | all of it to look at |
//! | `events.out.tfevents.*` | the metrics for TensorBoard |

mod records;
mod state;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ferronnx_models::Weights;

pub use self::records::{RunConfig, RunPlan, RunResult};
use crate::data::images::ImageSet;
use crate::trainer::{EpochMetrics, Prediction};
use ferronnx_models::checkpoint::{self, CheckpointError};

/// Why a run folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder is taken.
    #[error("{0} is not empty: choose another --out, or remove it")]
    Exists(PathBuf),
    /// No run has been here.
    #[error("{0} is not a run folder: it has no config.toml, which `train fit` writes")]
    NotARun(PathBuf),
    /// The file system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the folder does not hold what it should.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run was stopped before it saved anything.
    #[error("{0} has no weights: the run was stopped before it saved any")]
    NoWeights(PathBuf),
}

/// A run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// Makes the folder of a new run and writes its configuration.
    pub fn create(path: &Path, config: &RunConfig) -> Result<Self, RunError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Io { action, path, source }
        };
        Self::check_free(path)?;
        fs::create_dir_all(path).map_err(io("cannot create", path))?;
        let run = Self(path.into());
        let text = toml::to_string(config)
            .map_err(|error| RunError::Damaged { path: run.path("config.toml"), why: error.to_string() })?;
        run.write("config.toml", text.as_bytes())?;
        Ok(run)
    }

    /// Refuses a folder that holds something: better before the images are decoded than after.
    pub fn check_free(path: &Path) -> Result<(), RunError> {
        match fs::read_dir(path).map(Iterator::count) {
            Ok(0) => Ok(()),
            Ok(_) => Err(RunError::Exists(path.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RunError::Io { action: "cannot use", path: path.into(), source }),
        }
    }

    /// Opens the folder of an earlier run.
    pub fn open(path: &Path) -> Result<(Self, RunConfig), RunError> {
        let run = Self(path.into());
        if !run.path("config.toml").exists() {
            return Err(RunError::NotARun(path.into()));
        }
        let text = run.read("config.toml")?;
        let config: RunConfig = toml::from_str(&text).map_err(|error| run.damaged("config.toml", &error))?;
        let sound =
            config.preprocessing.check().map_err(|why| why.to_string()).and_then(|()| config.recipe.check());
        sound.map_err(|why| RunError::Damaged { path: run.path("config.toml"), why })?;
        Ok((run, config))
    }

    /// Where `name` lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Adds an epoch to `metrics.jsonl`.
    pub fn record(&self, metrics: &EpochMetrics) -> Result<(), RunError> {
        let path = self.path("metrics.jsonl");
        let append = || -> io::Result<()> {
            let mut line = serde_json::to_vec(metrics)?;
            line.push(b'\n');
            OpenOptions::new().create(true).append(true).open(&path)?.write_all(&line)
        };
        append().map_err(|source| RunError::Io { action: "cannot write", path, source })
    }

    /// Forgets the epochs after the first `epochs`, which will be trained again.
    pub fn truncate_metrics(&self, epochs: usize) -> Result<(), RunError> {
        let path = self.path("metrics.jsonl");
        if !path.exists() {
            return Ok(());
        }
        let text = self.read("metrics.jsonl")?;
        let kept: String =
            text.split_inclusive('\n').filter(|line| line.ends_with('\n')).take(epochs).collect();
        if kept == text { Ok(()) } else { self.write("metrics.jsonl", kept.as_bytes()) }
    }

    /// The epochs so far; a last line that a kill cut off is none.
    pub fn metrics(&self) -> Result<Vec<EpochMetrics>, RunError> {
        if !self.path("metrics.jsonl").exists() {
            return Ok(Vec::new());
        }
        let text = self.read("metrics.jsonl")?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = complete.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().map_err(|error| self.damaged("metrics.jsonl", &error))
    }

    /// Replaces `report.html`.
    pub fn write_report(&self, page: &str) -> Result<(), RunError> {
        self.write("report.html", page.as_bytes())
    }

    /// The text of `config.toml`.
    pub fn config_text(&self) -> Result<String, RunError> {
        self.read("config.toml")
    }

    /// Writes `plan.json`.
    pub fn write_plan(&self, plan: &RunPlan) -> Result<(), RunError> {
        let json = serde_json::to_vec_pretty(plan).map_err(|error| self.damaged("plan.json", &error))?;
        self.write("plan.json", &json)
    }

    /// What the run began with.
    pub fn plan(&self) -> Result<RunPlan, RunError> {
        serde_json::from_str(&self.read("plan.json")?).map_err(|error| self.damaged("plan.json", &error))
    }

    /// Replaces the weights of the best epoch.
    pub fn save_best(&self, weights: &Weights) -> Result<(), RunError> {
        Ok(checkpoint::save(weights, &self.path("best.safetensors"))?)
    }

    /// The best weights, or the last ones of a run that was stopped before its first epoch was complete.
    pub fn weights(&self) -> Result<(Weights, PathBuf), RunError> {
        let file = ["best.safetensors", "last/weights.safetensors"]
            .map(|name| self.path(name))
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| RunError::NoWeights(self.0.clone()))?;
        Ok((checkpoint::load(&file)?, file))
    }

    /// Writes `result.json`.
    pub fn finish(&self, result: &RunResult) -> Result<(), RunError> {
        let json = serde_json::to_vec_pretty(result).map_err(|error| self.damaged("result.json", &error))?;
        self.write("result.json", &json)
    }

    /// How the run ended, if it has.
    pub fn result(&self) -> Result<Option<RunResult>, RunError> {
        if !self.path("result.json").exists() {
            return Ok(None);
        }
        let text = self.read("result.json")?;
        serde_json::from_str(&text).map(Some).map_err(|error| self.damaged("result.json", &error))
    }

    /// Writes `predictions.csv`: path (from the folder of images on), label, predicted, probability.
    pub fn write_predictions(
        &self,
        set: &ImageSet,
        predictions: &[Prediction],
        config: &RunConfig,
    ) -> Result<(), RunError> {
        let labels = &config.labels;
        let table = || -> Result<Vec<u8>, csv::Error> {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["path", "label", "predicted", "probability"])?;
            for prediction in predictions {
                writer.write_record([
                    &config.short(set.path(prediction.index)).to_string_lossy(),
                    labels[set.label(prediction.index)].as_str(),
                    &labels[prediction.class],
                    &prediction.probability.to_string(),
                ])?;
            }
            writer.into_inner().map_err(|error| error.into_error().into())
        };
        let bytes = table().map_err(|error| self.damaged("predictions.csv", &error))?;
        self.write("predictions.csv", &bytes)
    }

    fn read(&self, name: &str) -> Result<String, RunError> {
        let path = self.path(name);
        fs::read_to_string(&path).map_err(|source| RunError::Io { action: "cannot read", path, source })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let path = self.path(name);
        ferronnx_models::files::write_atomically(&path, |out| out.write_all(bytes))
            .map_err(|source| RunError::Io { action: "cannot write", path, source })
    }

    fn damaged(&self, name: &str, why: &dyn std::error::Error) -> RunError {
        RunError::Damaged { path: self.path(name), why: why.to_string().trim().into() }
    }
}
