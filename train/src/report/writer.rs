//! Observer that keeps `report.html` up to date.

use std::path::Path;

use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_report::html::evaluation::Evaluated;
use ferronnx_report::metrics::Answer;

use super::{LabelsEvaluated, Report};
use crate::run::{Finished, Observer, RunConfig, RunError, RunFolder};
use crate::trainer::{Epoch, EpochMetrics, PhaseRecord};

/// Writes the report of a run after every epoch and at the end.
#[derive(Debug)]
pub struct ReportWriter<'a> {
    config: &'a RunConfig,
    config_toml: String,
    folder: &'a RunFolder,
    phases: &'a [PhaseRecord],
    metrics: Vec<EpochMetrics>,
}

impl<'a> ReportWriter<'a> {
    /// Goes on from the epochs that the folder's `metrics.jsonl` holds; `phases` are all phases of the recipe.
    ///
    /// # Errors
    /// [`RunError`] when the configuration or the metrics cannot be read.
    pub fn new(
        config: &'a RunConfig,
        folder: &'a RunFolder,
        phases: &'a [PhaseRecord],
    ) -> Result<Self, RunError> {
        let (config_toml, metrics) = (folder.config_text()?, folder.metrics()?);
        Ok(Self { config, config_toml, folder, phases, metrics })
    }

    fn name(&self, path: &Path) -> String {
        self.config.short(path).display().to_string()
    }

    fn write(
        &self,
        best_epoch: usize,
        evaluated: Option<Evaluated<'_>>,
        labels: Option<LabelsEvaluated<'_>>,
    ) -> Result<(), RunError> {
        // Phases that have not begun have nothing to show yet.
        let entered = self.metrics.last().map_or(0, |last| {
            self.phases.iter().position(|phase| phase.name == last.phase).map_or(0, |index| index + 1)
        });
        let report = Report {
            config: self.config,
            config_toml: &self.config_toml,
            phases: &self.phases[..entered],
            metrics: &self.metrics,
            best_epoch: Some(best_epoch),
            evaluated,
            labels,
        };
        self.folder.write_report(&report.render())
    }
}

impl Observer for ReportWriter<'_> {
    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        self.metrics.push(epoch.metrics.clone());
        self.write(epoch.best_epoch, None, None)
    }

    fn finished(&mut self, end: &Finished<'_>) -> Result<(), RunError> {
        let split = end.split.to_string();
        if let Some(found) = end.labels {
            let labels = LabelsEvaluated { split: &split, found };
            return self.write(end.result.best_epoch, None, Some(labels));
        }
        let preprocessor = Preprocessor::new(&self.config.preprocessing);
        let predictions = &end.evaluation.predictions;
        let answers: Vec<Answer> = predictions
            .iter()
            .map(|prediction| Answer {
                actual: end.set.label(prediction.index),
                predicted: prediction.class,
                probability: prediction.probability,
            })
            .collect();
        let image = |answer: usize| {
            let path = end.set.path(predictions[answer].index);
            let image = ferronnx_infer::decode::file(path).ok()?;
            Some((self.name(path), preprocessor.prepare(&image)))
        };
        let evaluated = Evaluated { split: &split, answers: &answers, image: &image };
        self.write(end.result.best_epoch, Some(evaluated), None)
    }
}
