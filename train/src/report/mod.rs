//! `report.html`: what a run came to, as one page.
//!
//! The page is a function of what it is given. No time and no speed is in it, so that a run that was interrupted
//! and resumed has the same page as one that was not.
//!
//! Its parts are [`ferronnx_report::html`]'s; here is what is shown of a run.

pub mod curves;
pub mod modules;
pub mod sections;

use ferronnx_report::html::charts;
use ferronnx_report::html::evaluation::{Evaluated, evaluation};
use ferronnx_report::html::page::{Headline, page, percent, section};
use ferronnx_report::metrics::Confusion;
use maud::html;

use crate::run::RunConfig;
use crate::trainer::EpochMetrics;
use crate::trainer::PhaseRecord;

/// What a report is made of.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The run.
    pub config: &'a RunConfig,
    /// The text of its `config.toml`.
    pub config_toml: &'a str,
    /// The phases it has entered.
    pub phases: &'a [PhaseRecord],
    /// The epochs it has done.
    pub metrics: &'a [EpochMetrics],
    /// The epoch with the best weights so far, counted from 1.
    pub best_epoch: Option<usize>,
    /// What the best weights say of images, once the run has ended.
    pub evaluated: Option<Evaluated<'a>>,
}

impl Report<'_> {
    /// The page. While a run is under way it has no evaluation, and grows with every epoch.
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
            @if !self.phases.is_empty() { (sections::phases(self.phases, self.metrics)) }
            (sections::configuration(self.config_toml))
        };
        let headlines =
            self.headlines(counted.as_ref().map(|(evaluated, confusion)| (*evaluated, confusion)));
        let subtitle =
            format!("{} · recipe {} · on {}", config.architecture, config.recipe.name, config.device);
        page(&config.dataset(), &subtitle, &headlines, &body)
    }

    fn headlines(&self, counted: Option<(&Evaluated<'_>, &Confusion)>) -> Vec<Headline> {
        let epochs = self.config.recipe.epochs();
        let best = self.best_epoch.and_then(|best| self.metrics.iter().find(|metrics| metrics.epoch == best));
        let mut headlines = Vec::new();
        if let Some((evaluated, confusion)) = counted.filter(|(evaluated, _)| evaluated.split == "test") {
            headlines.push(Headline {
                name: "Test accuracy",
                value: percent(confusion.accuracy()),
                note: format!("of {} images", evaluated.answers.len()),
            });
        }
        if let Some(best) = best {
            headlines.push(Headline {
                name: "Validation accuracy",
                value: percent(best.validation_accuracy),
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
            note: format!("at {0}×{0} pixels", self.config.preprocessing.crop),
        });
        headlines
    }
}

#[cfg(test)]
mod tests;
