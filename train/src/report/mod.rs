//! Report of a run as one HTML page: curves, evaluation, phases and configuration.
//!
//! The page holds no time and no speed, so that an interrupted and resumed run has the same page as an uninterrupted
//! one. [`ReportWriter`] keeps it up to date during a run.

mod calibration;
pub mod curves;
pub mod modules;
pub mod multi_label;
pub mod sections;
mod writer;

use ferronnx_report::html::charts;
use ferronnx_report::html::evaluation::{Evaluated, evaluation};
use ferronnx_report::html::page::{Headline, page, percent, section};
use ferronnx_report::interval::Interval;
use ferronnx_report::metrics::Confusion;
use maud::html;

pub use self::calibration::Calibrated;
pub use self::multi_label::LabelsEvaluated;
pub use self::writer::ReportWriter;
use crate::run::{RunConfig, in_words};
use crate::trainer::EpochMetrics;
use crate::trainer::PhaseRecord;

/// Content of a report.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// Configuration of the run.
    pub config: &'a RunConfig,
    /// Text of `config.toml`.
    pub config_toml: &'a str,
    /// Phases that have begun.
    pub phases: &'a [PhaseRecord],
    /// Epochs so far.
    pub metrics: &'a [EpochMetrics],
    /// Epoch with the best weights so far, counted from 1.
    pub best_epoch: Option<usize>,
    /// Evaluation of the best weights, once the run has ended.
    pub evaluated: Option<Evaluated<'a>>,
    /// Accuracy on the test images with their mirror images, if the recipe asks for it.
    pub mirrored_accuracy: Option<f64>,
    /// Calibration of their probabilities.
    pub calibrated: Option<Calibrated<'a>>,
    /// Evaluation of the best weights in a multi-label task, once the run has ended.
    pub labels: Option<LabelsEvaluated<'a>>,
}

impl Report<'_> {
    /// Renders the page; a run under way has no evaluation yet.
    ///
    /// # Panics
    /// When an answer names a class that the run does not have.
    pub fn render(&self) -> String {
        let config = self.config;
        let counted = self
            .evaluated
            .as_ref()
            .map(|evaluated| (evaluated, Confusion::new(config.labels.len(), evaluated.answers)));
        let body = html! {
            @if !self.metrics.is_empty() { (section("Curves", "", &curves::curves(self.metrics, self.best_epoch))) }
            @if let Some((evaluated, confusion)) = &counted {
                (evaluation(evaluated, confusion, &config.labels))
            }
            @if let Some(evaluated) = self.labels { (multi_label::classes(evaluated, &config.labels)) }
            @if let Some(calibrated) = &self.calibrated { (calibrated.render()) }
            @if !self.phases.is_empty() { (sections::phases(self.phases, self.metrics)) }
            (sections::configuration(self.config_toml))
        };
        let headlines =
            self.headlines(counted.as_ref().map(|(evaluated, confusion)| (*evaluated, confusion)));
        let subtitle = format!(
            "{} · recipe {} · on {}",
            in_words(&config.architecture),
            config.recipe.name,
            config.device
        );
        page(&config.dataset(), &subtitle, &headlines, &body)
    }

    fn headlines(&self, counted: Option<(&Evaluated<'_>, &Confusion)>) -> Vec<Headline> {
        let epochs = self.config.recipe.epochs();
        let best = self.best_epoch.and_then(|best| self.metrics.iter().find(|metrics| metrics.epoch == best));
        let mut headlines = Vec::new();
        if let Some((evaluated, confusion)) = counted.filter(|(evaluated, _)| evaluated.split == "test") {
            let images = evaluated.answers.len();
            let correct = evaluated.answers.iter().filter(|answer| answer.is_correct()).count();
            let interval = Interval::wilson(correct, images)
                .map(|found| format!(", 95 % interval {} – {}", percent(found.low), percent(found.high)));
            headlines.push(Headline {
                name: "Test accuracy",
                value: percent(confusion.accuracy()),
                note: format!("of {images} images{}", interval.unwrap_or_default()),
            });
        }
        if let Some(accuracy) = self.mirrored_accuracy {
            headlines.push(Headline {
                name: "Mirrored test accuracy",
                value: percent(accuracy),
                note: "mean logits of each image and its mirror image".into(),
            });
        }
        if let Some(evaluated) = self.labels.filter(|evaluated| evaluated.split == "test") {
            headlines.extend(multi_label::headlines(evaluated));
        }
        if let Some(best) = best {
            let (name, value) = match best.validation_map {
                Some(map) => ("Validation mAP", map),
                None => ("Validation accuracy", best.validation_accuracy),
            };
            headlines.push(Headline {
                name,
                value: percent(value),
                note: format!("loss {}", charts::significant(best.validation_loss)),
            });
            headlines.push(Headline {
                name: "Best epoch",
                value: best.epoch.to_string(),
                note: format!("in phase {}", best.phase),
            });
        }
        headlines.push(Headline {
            name: "Epochs",
            value: self.metrics.len().to_string(),
            note: format!("of {epochs}"),
        });
        headlines.push(Headline {
            name: "Classes",
            value: self.config.labels.len().to_string(),
            note: format!("at {0}×{0} pixels", self.config.preprocessing.crop.height),
        });
        headlines
    }
}

#[cfg(test)]
mod tests;
