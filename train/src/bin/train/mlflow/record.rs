//! Record of what an MLflow server has of a run: `mlflow.json` in the run folder. It holds no credentials.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use ferronnx_models::files::write_atomically;
use ferronnx_train::run::RunFolder;
use serde::{Deserialize, Serialize};

use super::Target;

const FILE: &str = "mlflow.json";

/// Content of `mlflow.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// URL of the server.
    pub url: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Id of the experiment.
    pub experiment_id: Option<String>,
    /// Id of the run in MLflow.
    pub run_id: Option<String>,
    /// Place of the run's artifacts.
    pub artifact_uri: String,
    /// True if the server has the parameters.
    pub params_sent: bool,
    /// Number of epochs that the server has.
    pub epochs_sent: usize,
    /// End of each epoch that the server lacks, in milliseconds since 1970.
    pub times: BTreeMap<usize, i64>,
    /// True if the server knows how the run ended.
    pub closed: bool,
}

impl Record {
    /// Reads the record of a run; `None` when there is none, or none that can be read.
    pub fn read(folder: &RunFolder) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.path(FILE)).ok()?).ok()
    }

    /// Goes on with a record of the same server; on another server a run begins anew.
    pub fn for_target(record: Option<Self>, target: &Target) -> Self {
        let times = record.as_ref().map(|record| record.times.clone()).unwrap_or_default();
        record.filter(|record| record.url == target.url).unwrap_or_else(|| Self {
            url: target.url.clone(),
            experiment: target.experiment.clone(),
            times,
            ..Self::default()
        })
    }

    /// The server and experiment of this record, with the credentials of the environment.
    pub fn target(&self) -> Target {
        let known =
            || Target { url: self.url.clone(), experiment: self.experiment.clone(), authorization: None };
        Target::new(&self.url, self.experiment.clone()).unwrap_or_else(|_| known())
    }

    /// Replaces the record of a run.
    pub fn write(&self, folder: &RunFolder) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        write_atomically(folder.path(FILE), |out| out.write_all(&json))
    }
}
