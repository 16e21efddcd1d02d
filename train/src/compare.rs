//! Comparison of runs: their results side by side, the settings that differ, and whether their numbers compare.

mod page;
mod predictions;
mod settings;

use std::path::{Path, PathBuf};

use ferronnx_report::interval::Interval;
use serde::Serialize;

pub use self::page::page;
use self::predictions::{Classified, Tested};
pub use self::settings::{Difference, settings_of};
use crate::error::chain;
use crate::run::{RunConfig, RunError, RunFolder, in_words};
use crate::task::Task;
use crate::trainer::{Best, EpochMetrics};

/// State of a run's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The run has ended.
    Finished,
    /// The run is under way, or was stopped.
    Unfinished,
    /// A file of the folder cannot be read.
    Broken,
}

/// Results of a run, as far as there are some.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// Name of the run: the part of its path that tells it from the others.
    pub name: String,
    /// Folder of the run.
    pub path: PathBuf,
    /// State of the folder.
    pub status: Status,
    /// Reason why a broken run cannot be read.
    pub problem: Option<String>,
    /// Name of the data set.
    pub data: Option<String>,
    /// Description of the network.
    pub network: Option<String>,
    /// Name of the recipe.
    pub recipe: Option<String>,
    /// Epochs trained.
    pub epochs: usize,
    /// Epochs of the recipe.
    pub planned_epochs: Option<usize>,
    /// Epoch whose weights are the best by the recipe's metric, counted from 1.
    pub best_epoch: Option<usize>,
    /// Task of the run.
    pub task: Option<Task>,
    /// Validation accuracy of that epoch, in [0, 1]; in a multi-label task the share of right decisions.
    pub validation_accuracy: Option<f64>,
    /// Mean average precision of that epoch on the validation images, in [0, 1], in a multi-label task.
    pub validation_map: Option<f64>,
    /// Accuracy on the test images, in [0, 1]; in a multi-label task the share of right decisions.
    pub test_accuracy: Option<f64>,
    /// Mean average precision on the test images, in [0, 1], in a multi-label task.
    pub test_map: Option<f64>,
    /// Number of test images with a prediction.
    pub test_images: Option<usize>,
    /// Wilson score interval of the test accuracy; none in a multi-label task, whose decisions are not independent.
    pub test_interval: Option<Interval>,
    /// Mean F1 of all classes on the test images, in [0, 1].
    pub macro_f1: Option<f64>,
    /// Seconds of all epochs, validation included.
    pub seconds: f64,
    /// Number of parameters that can learn.
    pub parameters: Option<u64>,
    #[serde(skip)]
    config: Option<RunConfig>,
    #[serde(skip)]
    metrics: Vec<EpochMetrics>,
    #[serde(skip)]
    tested: Option<Tested>,
}

impl RunSummary {
    /// Reads the run in a folder. A file that cannot be read makes it [`Status::Broken`].
    ///
    /// # Errors
    /// [`RunError::NotARun`] when the folder holds no run.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, RunError> {
        let path = path.as_ref();
        let mut summary = Self::empty(path);
        let read = RunFolder::open(path).and_then(|(folder, config)| summary.fill(&folder, config));
        match read {
            Err(error @ RunError::NotARun(_)) => return Err(error),
            Err(error) => {
                summary.status = Status::Broken;
                summary.problem = Some(chain(&error));
            }
            Ok(()) => {}
        }
        Ok(summary)
    }

    fn empty(path: &Path) -> Self {
        Self {
            name: path.display().to_string(),
            path: path.into(),
            status: Status::Unfinished,
            problem: None,
            data: None,
            network: None,
            recipe: None,
            epochs: 0,
            planned_epochs: None,
            best_epoch: None,
            task: None,
            validation_accuracy: None,
            validation_map: None,
            test_accuracy: None,
            test_map: None,
            test_images: None,
            test_interval: None,
            macro_f1: None,
            seconds: 0.0,
            parameters: None,
            config: None,
            metrics: Vec::new(),
            tested: None,
        }
    }

    fn fill(&mut self, folder: &RunFolder, config: RunConfig) -> Result<(), RunError> {
        self.data = Some(config.dataset());
        self.network = Some(in_words(&config.architecture));
        self.recipe = Some(config.recipe.name.clone());
        self.planned_epochs = Some(config.recipe.epochs());
        self.task = Some(config.task);
        let config = self.config.insert(config);
        self.metrics = folder.metrics()?;
        self.epochs = self.metrics.len();
        // An empty sum would be -0.
        self.seconds = self.metrics.iter().fold(0.0, |sum, epoch| sum + epoch.seconds);
        let by = config.best_by().map_err(|source| config.recipe_error(source.into()))?;
        let mut best = Best::default();
        for epoch in &self.metrics {
            best.improves(epoch, by);
        }
        if best.epoch > 0 {
            (self.best_epoch, self.validation_accuracy) = (Some(best.epoch), Some(best.accuracy));
            self.validation_map = self.metrics.get(best.epoch - 1).and_then(|epoch| epoch.validation_map);
        }
        self.parameters = parameters(folder)?;
        let Some(result) = folder.result()? else { return Ok(()) };
        self.status = Status::Finished;
        (self.test_accuracy, self.test_map) = (result.test_accuracy, result.test_map);
        // Runs of programs before November 2026 have none; their predictions tell.
        self.macro_f1 = result.test_macro_f1;
        if result.test_accuracy.is_some() {
            self.tested = Tested::read(folder, &config.labels)?;
        }
        if let Some(tested) = &self.tested {
            self.test_images = Some(tested.images);
            if let Some(Classified { correct, macro_f1 }) = tested.classified {
                self.test_interval = Interval::wilson(correct, tested.images);
                self.macro_f1 = Some(macro_f1);
            }
        }
        Ok(())
    }
}

/// Counts the values of the parameters that can learn; `None` before weights are saved.
fn parameters(folder: &RunFolder) -> Result<Option<u64>, RunError> {
    let weights = match folder.weights() {
        Ok((weights, _)) => weights,
        Err(RunError::NoWeights(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(phase) = folder.plan()?.phases.into_iter().next() else { return Ok(None) };
    let names = phase.trained.iter().chain(&phase.frozen);
    Ok(Some(names.filter_map(|name| weights.get(name)).map(|values| values.len() as u64).sum()))
}

/// Runs side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The runs, in the order in which they were given.
    pub runs: Vec<RunSummary>,
    /// Settings that are not the same in all runs.
    pub differences: Vec<Difference>,
    /// Sentences on runs whose numbers do not compare.
    pub warnings: Vec<String>,
}

impl Comparison {
    /// Compares runs.
    pub fn new(mut runs: Vec<RunSummary>) -> Self {
        shorten(&mut runs);
        let differences = settings::differences(&runs);
        let warnings = warnings(&runs);
        Self { runs, differences, warnings }
    }
}

/// Leaves the folder that all runs lie in out of their names.
fn shorten(runs: &mut [RunSummary]) {
    let parents: Vec<_> = runs.iter().map(|run| run.path.parent().map(Path::to_owned)).collect();
    if parents.iter().any(|parent| *parent != parents[0]) {
        return;
    }
    for run in runs {
        if let Some(name) = run.path.file_name() {
            run.name = name.to_string_lossy().into_owned();
        }
    }
}

fn warnings(runs: &[RunSummary]) -> Vec<String> {
    let config = |run: &RunSummary| run.config.clone();
    let data = groups(runs, |run| Some(config(run)?.data_digest));
    let validation = groups(runs, |run| {
        let RunConfig { data_digest, limit, seed, recipe, .. } = config(run)?;
        Some((data_digest, limit, seed, recipe.validation.to_bits()))
    });
    let test = groups(runs, |run| run.tested.as_ref().map(|tested| tested.digest.clone()));
    let mut warnings = Vec::new();
    let mut warn = |groups: Vec<Vec<&str>>, what: &str| {
        if groups.len() > 1 {
            let groups: Vec<_> = groups.iter().map(|names| names.join(", ")).collect();
            warnings.push(format!("{what}: {}", groups.join(" | ")));
        }
    };
    let tasks = groups(runs, |run| run.task);
    warn(tasks, "the tasks are not the same, so mean average precisions (mAP) and accuracies do not compare");
    warn(test, "the test images are not the same, so test accuracies do not compare");
    if data.len() > 1 {
        warn(data, "the data sets are not the same, so validation accuracies do not compare");
    } else {
        let what = "seed, limit or share of held-out images differ, so validation accuracies are of other images \
                    unless the data set has its own";
        warn(validation, what);
    }
    warnings
}

/// Names of the runs with the same key; runs without a key are left out.
fn groups<K: PartialEq>(runs: &[RunSummary], key: impl Fn(&RunSummary) -> Option<K>) -> Vec<Vec<&str>> {
    let mut groups: Vec<(K, Vec<&str>)> = Vec::new();
    for run in runs {
        let Some(key) = key(run) else { continue };
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, names)) => names.push(&run.name),
            None => groups.push((key, vec![&run.name])),
        }
    }
    groups.into_iter().map(|(_, names)| names).collect()
}
