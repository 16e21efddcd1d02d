//! Observer that keeps `report.html` up to date.

use std::path::Path;

use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_report::activation::softmax;
use ferronnx_report::html::evaluation::Evaluated;
use ferronnx_report::scored::Scored;

use super::{Calibrated, LabelsEvaluated, Report};
use crate::run::{Finished, Observer, RunConfig, RunError, RunFolder};
use crate::temperature::Labelled;
use crate::trainer::{Epoch, EpochMetrics, PhaseRecord, answers};

/// Writes the report of a run after every epoch and at the end.
#[derive(Debug)]
pub struct ReportWriter<'a> {
    config: &'a RunConfig,
    config_toml: String,
    folder: &'a RunFolder,
    phases: &'a [PhaseRecord],
    metrics: Vec<EpochMetrics>,
}

/// Findings about the best weights, once a run has ended.
#[derive(Default)]
struct Findings<'a> {
    evaluated: Option<Evaluated<'a>>,
    labels: Option<LabelsEvaluated<'a>>,
    mirrored_accuracy: Option<f64>,
    calibrated: Option<Calibrated<'a>>,
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

    fn write(&self, best_epoch: usize, findings: Findings<'_>) -> Result<(), RunError> {
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
            evaluated: findings.evaluated,
            labels: findings.labels,
            mirrored_accuracy: findings.mirrored_accuracy,
            calibrated: findings.calibrated,
        };
        self.folder.write_report(&report.render())
    }
}

impl Observer for ReportWriter<'_> {
    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        self.metrics.push(epoch.metrics.clone());
        self.write(epoch.best_epoch, Findings::default())
    }

    fn finished(&mut self, end: &Finished<'_>) -> Result<(), RunError> {
        let split = end.split.to_string();
        let labelled = Labelled::of(end.evaluation, end.set, self.config.task);
        let scaling = end.temperature.as_ref().ok();
        let calibrated = Some(Calibrated {
            split: &split,
            before: labelled.calibration(1.0),
            after: scaling.map(|scaling| labelled.calibration(scaling.temperature)),
            temperature: end.temperature,
        });
        if let Some(found) = end.labels {
            let labels = Some(LabelsEvaluated { split: &split, found });
            return self.write(end.result.best_epoch, Findings { labels, calibrated, ..Findings::default() });
        }
        let preprocessor = Preprocessor::new(&self.config.preprocessing);
        let predictions = &end.evaluation.predictions;
        let answers = answers(end.evaluation, end.set);
        let mut scored = Scored::new(self.config.labels.len());
        for (row, answer) in end.evaluation.logits.rows().into_iter().zip(&answers) {
            scored.add(&softmax(&row.to_vec(), 1.0), answer.actual);
        }
        let image = |answer: usize| {
            let index = predictions[answer].index;
            Some((self.name(end.set.path(index)), end.set.prepared(index, &preprocessor).ok()?))
        };
        let evaluated = Evaluated { split: &split, answers: &answers, scored: Some(&scored), image: &image };
        let mirrored_accuracy = end.result.mirrored_test_accuracy;
        let findings = Findings { evaluated: Some(evaluated), mirrored_accuracy, calibrated, labels: None };
        self.write(end.result.best_epoch, findings)
    }
}
