//! Saved state of training.

use ferronnx_models::Weights;
use serde::{Deserialize, Serialize};

use super::EpochMetrics;
use super::precision::ScalerState;
use super::totals::Sums;
use crate::recipe::{BestBy, Rates, Recipe, Schedule};

/// Position of a run, without its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs completed.
    pub epoch: usize,
    /// Phase of the next step.
    pub phase: usize,
    /// Epochs completed in that phase.
    pub phase_epoch: usize,
    /// Batches completed of the epoch under way.
    pub step: usize,
    /// Optimizer steps of the whole run.
    pub updates: usize,
    /// Ranks that train together; their number is that of the batches of a step.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ranks: usize,
    /// Best epoch so far.
    pub best: Best,
    /// Sums of the epoch under way.
    pub(super) sums: Sums,
    /// Seconds spent on the epoch under way.
    pub(super) seconds: f64,
    /// Learning rates of the phase.
    pub(super) rates: Rates,
    /// Lowest validation loss of the phase.
    pub(super) lowest: Option<f64>,
    /// Epochs since the lowest validation loss.
    pub(super) stale: usize,
    /// State of the loss scaling of mixed precision.
    pub(super) scaler: Option<ScalerState>,
}

/// Complete state of training at a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Position of the run.
    pub position: Position,
    /// Parameters.
    pub weights: Weights,
    /// Moving average of the parameters, if the recipe asks for one.
    pub average: Option<Weights>,
    /// State of the optimizer; empty between two phases.
    pub optimizer: Weights,
}

/// Best epoch so far, by the recipe's [metric](crate::recipe::BestBy), then by loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Epoch, counted from 1; 0 before there is one.
    pub epoch: usize,
    /// Validation accuracy, in [0, 1].
    pub accuracy: f64,
    /// Validation loss, mean cross-entropy.
    pub loss: f64,
    /// Value of the metric that chooses, higher is better; absent in the state of older runs, which took the accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

impl Best {
    /// Replaces the best epoch by a better one; returns whether it is better.
    pub(crate) fn improves(&mut self, metrics: &EpochMetrics, by: BestBy) -> bool {
        let (epoch, accuracy, loss) = (metrics.epoch, metrics.validation_accuracy, metrics.validation_loss);
        let (value, before) = (by.value(metrics), self.value.unwrap_or(self.accuracy));
        let better = self.epoch == 0 || value > before || (value == before && loss < self.loss);
        if better {
            *self = Self { epoch, accuracy, loss, value: Some(value) };
        }
        better
    }
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_one(ranks: &usize) -> bool {
    *ranks == 1
}

impl Position {
    /// Position before the first step of `recipe`.
    pub(super) fn start(recipe: &Recipe) -> Self {
        let rates = recipe.phases.first().map(|phase| phase.rates()).unwrap_or_default();
        Self {
            epoch: 0,
            phase: 0,
            phase_epoch: 0,
            step: 0,
            updates: 0,
            ranks: 1,
            best: Best::default(),
            sums: Sums::default(),
            seconds: 0.0,
            rates: Rates::new(rates),
            lowest: None,
            stale: 0,
            scaler: None,
        }
    }

    /// The same position for another number of ranks: the step is that of the same image, or, where this lies within an
    /// update, the first one of the update.
    pub(crate) fn regrouped(&self, recipe: &Recipe, ranks: usize) -> Self {
        let mut position = self.clone();
        if ranks != self.ranks {
            let steps = self.step * self.ranks / ranks;
            (position.step, position.ranks) = (steps - steps % recipe.accumulate, ranks);
        }
        position
    }

    /// Begins the next epoch at its first step.
    pub(super) fn next_epoch(&mut self) {
        self.epoch += 1;
        self.step = 0;
        self.sums = Sums::default();
        self.seconds = 0.0;
    }

    /// Advances to the next epoch; at the end of a phase returns whether it ended early.
    pub(super) fn advance(&mut self, recipe: &Recipe, validation_loss: f64) -> Option<bool> {
        let phase = &recipe.phases[self.phase];
        self.next_epoch();
        self.phase_epoch += 1;
        if phase.schedule == Schedule::Plateau {
            self.rates.observe(validation_loss, &recipe.plateau);
        }
        if self.lowest.is_none_or(|lowest| validation_loss < lowest) {
            self.lowest = Some(validation_loss);
            self.stale = 0;
        } else {
            self.stale += 1;
        }
        let complete = self.phase_epoch >= phase.epochs;
        let given_up = recipe.early_stopping.is_some_and(|patience| self.stale >= patience);
        if !complete && !given_up {
            return None;
        }
        self.phase += 1;
        self.phase_epoch = 0;
        self.lowest = None;
        self.stale = 0;
        self.rates = Rates::new(recipe.phases.get(self.phase).map(|phase| phase.rates()).unwrap_or_default());
        Some(!complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize, accuracy: f64, macro_f1: f64, loss: f64) -> EpochMetrics {
        EpochMetrics {
            epoch,
            phase: "all".into(),
            learning_rates: Default::default(),
            train_loss: 0.0,
            train_accuracy: 0.0,
            validation_loss: loss,
            validation_accuracy: accuracy,
            validation_macro_f1: Some(macro_f1),
            validation_map: None,
            images_per_second: 1.0,
            seconds: 1.0,
        }
    }

    fn best(by: BestBy) -> usize {
        let epochs = [
            epoch(1, 0.5, 0.3, 1.0),
            epoch(2, 0.6, 0.2, 1.2),
            epoch(3, 0.6, 0.3, 0.9),
            epoch(4, 0.4, 0.1, 0.8),
        ];
        let mut best = Best::default();
        for epoch in &epochs {
            best.improves(epoch, by);
        }
        assert_eq!(best.accuracy, epochs[best.epoch - 1].validation_accuracy);
        best.epoch
    }

    #[test]
    fn the_recipe_chooses_the_metric_of_the_best_epoch() {
        assert_eq!(best(BestBy::Accuracy), 3, "of two with one accuracy, that of the lower loss");
        assert_eq!(best(BestBy::MacroF1), 3);
        assert_eq!(best(BestBy::Loss), 4);
    }

    #[test]
    fn the_state_of_an_older_run_took_the_accuracy() {
        let mut best: Best = serde_json::from_str(r#"{"epoch": 2, "accuracy": 0.6, "loss": 1.0}"#).unwrap();
        assert!(!best.improves(&epoch(3, 0.55, 0.9, 0.5), BestBy::Accuracy));
        assert!(best.improves(&epoch(4, 0.6, 0.1, 0.9), BestBy::Accuracy));
    }
}
