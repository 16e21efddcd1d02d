//! What a run leaves to look at: its page, and TensorBoard's event files.

use std::path::Path;

use anyhow::Result;
use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_report::html::evaluation::Evaluated;
use ferronnx_report::metrics::Answer;
use ferronnx_train::data::images::ImageSet;
use ferronnx_train::report::Report;
use ferronnx_train::run::{RunConfig, RunFolder};
use ferronnx_train::tensorboard::EventWriter;
use ferronnx_train::trainer::{EpochMetrics, Evaluation, PhaseRecord};

/// Keeps the page and the event files of a run up to date.
pub struct Show<'a> {
    config: &'a RunConfig,
    config_toml: String,
    run: &'a RunFolder,
    phases: Vec<PhaseRecord>,
    metrics: Vec<EpochMetrics>,
    events: EventWriter,
}

impl<'a> Show<'a> {
    /// Goes on after the first `done` epochs.
    pub fn new(
        config: &'a RunConfig,
        run: &'a RunFolder,
        phases: Vec<PhaseRecord>,
        done: usize,
    ) -> Result<Self> {
        let events = EventWriter::create(&run.path(""), done + 1)?;
        Ok(Self { config, config_toml: run.config_text()?, run, phases, metrics: run.metrics()?, events })
    }

    /// Adds an epoch.
    pub fn epoch(&mut self, metrics: &EpochMetrics, best: usize) -> Result<()> {
        self.metrics.push(metrics.clone());
        self.events.record(metrics)?;
        self.write(best, None)
    }

    /// Adds what the best weights say of `set`.
    pub fn evaluation(
        &self,
        split: &str,
        set: &ImageSet,
        evaluation: &Evaluation,
        best: usize,
    ) -> Result<()> {
        let preprocessor = Preprocessor::new(&self.config.preprocessing);
        let predictions = &evaluation.predictions;
        let answers: Vec<Answer> = predictions
            .iter()
            .map(|prediction| Answer {
                actual: set.label(prediction.index),
                predicted: prediction.class,
                probability: prediction.probability,
            })
            .collect();
        let image = |answer: usize| {
            let path = set.path(predictions[answer].index);
            let image = ferronnx_infer::decode::file(path).ok()?;
            Some((self.name(path), preprocessor.prepare(&image)))
        };
        self.write(best, Some(Evaluated { split, answers: &answers, image: &image }))
    }

    fn name(&self, path: &Path) -> String {
        self.config.short(path).display().to_string()
    }

    fn write(&self, best: usize, evaluated: Option<Evaluated<'_>>) -> Result<()> {
        // Phases that have not begun have nothing to show yet.
        let entered = self.metrics.last().map_or(0, |last| {
            self.phases.iter().position(|phase| phase.name == last.phase).map_or(0, |index| index + 1)
        });
        let report = Report {
            config: self.config,
            config_toml: &self.config_toml,
            phases: &self.phases[..entered],
            metrics: &self.metrics,
            best_epoch: Some(best),
            evaluated,
        };
        Ok(self.run.write_report(&report.render())?)
    }
}
