//! Learning-rate range test: training steps at rates that rise exponentially (Smith 2017, arXiv:1506.01186).

use super::{Progress, TrainError, Trainer};
use crate::recipe::Phase;
use ferronnx_models::Module;

/// Range of a learning-rate range test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sweep {
    /// Learning rate of the first update; the phase's other rates keep their ratio to its `learning_rate`.
    pub from: f64,
    /// Learning rate of the last update.
    pub to: f64,
    /// Number of updates, at least 2.
    pub steps: usize,
}

impl Sweep {
    /// Learning rate of an update, counted from 0.
    pub fn rate(&self, update: usize) -> f64 {
        let share = update as f64 / self.steps.saturating_sub(1).max(1) as f64;
        self.from * (self.to / self.from).powf(share)
    }

    /// Learning rate of each group of `phase` at an update.
    pub(super) fn rates(&self, phase: &Phase, update: usize) -> Vec<f64> {
        let factor = self.rate(update) / phase.learning_rate;
        phase.rates().into_iter().map(|rate| rate * factor).collect()
    }
}

impl<M: Module> Trainer<'_, M> {
    /// Trains the first phase at the rates of `sweep` instead of its own, without validation.
    ///
    /// `go_on` gets the progress of the epoch under way after every update, and the mean loss over the update's images.
    /// The sweep ends when it returns false, when a loss is not finite, and after the last rate. The weights are spent:
    /// train with another trainer.
    ///
    /// # Errors
    /// [`TrainError`] when images cannot be read or libtorch fails.
    pub fn sweep(
        &mut self,
        sweep: Sweep,
        mut go_on: impl FnMut(Progress, f64) -> bool,
    ) -> Result<(), TrainError> {
        self.enter()?;
        self.sweep = Some(sweep);
        let first = self.position.updates;
        let mut done = 0;
        while self.position.updates - first < sweep.steps {
            // Sums of the epoch before the update.
            let (mut images, mut sum) = (0, 0.0);
            let trained = self.train_epoch(&mut |progress| {
                let (before, now) = (images, progress.images);
                let total = progress.loss * now as f64;
                let loss = (total - sum) / (now - before) as f64;
                (images, sum) = (now, total);
                done += 1;
                go_on(progress, loss) && done < sweep.steps
            });
            match trained {
                Ok(true) => self.position.next_epoch(),
                Ok(false) | Err(TrainError::Diverged { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        self.sweep = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_by_the_same_factor_and_keep_their_ratios() {
        let sweep = Sweep { from: 1e-5, to: 1e-1, steps: 5 };
        for (update, expected) in [1e-5, 1e-4, 1e-3, 1e-2, 1e-1].into_iter().enumerate() {
            assert!((sweep.rate(update) / expected - 1.0).abs() < 1e-12, "{update}: {}", sweep.rate(update));
        }
        let text =
            "name = \"p\"\nepochs = 1\nlearning_rate = 1e-4\nnew_learning_rate = 1e-2\ntrain = [\"*\"]";
        let phase: Phase = toml::from_str(text).unwrap();
        let rates = sweep.rates(&phase, 2);
        assert!((rates[0] / 1e-3 - 1.0).abs() < 1e-12 && (rates[1] / 1e-1 - 1.0).abs() < 1e-12, "{rates:?}");
    }
}
