//! Learning rate schedules within a phase: constant, plateau, cosine, and warm-up.

use serde::{Deserialize, Serialize};

use crate::error::SettingError;

/// Change of a phase's learning rates over its steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The learning rate stays the same.
    Constant,
    /// The learning rate falls when the validation loss stops falling.
    #[default]
    Plateau,
    /// The learning rate falls along half a cosine to zero at the end of the phase (Loshchilov and Hutter 2017,
    /// arXiv:1608.03983).
    Cosine,
}

/// Settings of [`Schedule::Plateau`], as of PyTorch's `ReduceLROnPlateau` with mode `min` and a relative threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plateau {
    /// Factor that the rates are multiplied by, between 0 and 1.
    pub factor: f64,
    /// Epochs without improvement that are accepted; the next one lowers the rates.
    pub patience: usize,
    /// Fraction by which a loss must fall below the best to count as an improvement.
    pub threshold: f64,
    /// Epochs after a reduction in which none is counted.
    pub cooldown: usize,
    /// Smallest learning rate.
    pub min_learning_rate: f64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 0.5, patience: 3, threshold: 1e-4, cooldown: 0, min_learning_rate: 0.0 }
    }
}

impl Plateau {
    /// Checks that every setting is in range.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        let Self { factor, threshold, min_learning_rate, .. } = *self;
        if !(factor > 0.0 && factor < 1.0) {
            return Err(SettingError::new("plateau.factor", "between 0 and 1", factor));
        }
        if !(0.0..1.0).contains(&threshold) {
            return Err(SettingError::new("plateau.threshold", "at least 0 and below 1", threshold));
        }
        if !(min_learning_rate >= 0.0 && min_learning_rate.is_finite()) {
            return Err(SettingError::new("plateau.min_learning_rate", "at least 0", min_learning_rate));
        }
        Ok(())
    }
}

/// Smallest change of a rate that is made, as in PyTorch.
const NEGLIGIBLE: f64 = 1e-8;

/// Learning rates of a phase's groups during training; saved with a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Rates of the recipe, one per group.
    initial: Vec<f64>,
    /// Rates after the reductions of plateaus, before warm-up and cosine.
    current: Vec<f64>,
    /// Lowest loss; `None` before the first epoch.
    best: Option<f64>,
    bad_epochs: usize,
    cooldown: usize,
}

impl Rates {
    /// Starts a phase at these rates, one per group.
    pub fn new(initial: Vec<f64>) -> Self {
        Self { current: initial.clone(), initial, best: None, bad_epochs: 0, cooldown: 0 }
    }

    /// Adopts the rates of a recipe that may have been edited; a changed rate keeps the reductions of plateaus.
    ///
    /// Returns false when the number of groups differs.
    pub fn follow(&mut self, recipe: Vec<f64>) -> bool {
        if recipe.len() != self.initial.len() {
            return false;
        }
        for ((current, initial), edited) in self.current.iter_mut().zip(&self.initial).zip(&recipe) {
            // Unedited rates stay the same to the bit.
            *current = if *current == *initial { *edited } else { *current * (edited / initial) };
        }
        self.initial = recipe;
        true
    }

    /// Computes the rates at `step` (counted from 0) of a phase of `steps`, the first `warm_up` of which rise.
    pub fn at(&self, schedule: Schedule, step: usize, warm_up: usize, steps: usize) -> Vec<f64> {
        let factor = if step < warm_up {
            (step + 1) as f64 / warm_up as f64
        } else if schedule == Schedule::Cosine {
            let share = (step - warm_up) as f64 / (steps - warm_up).max(1) as f64;
            0.5 * (1.0 + (std::f64::consts::PI * share).cos())
        } else {
            1.0
        };
        self.current.iter().map(|rate| rate * factor).collect()
    }

    /// Records an epoch's validation loss, and lowers the rates on a plateau.
    pub fn observe(&mut self, loss: f64, plateau: &Plateau) {
        if self.best.is_none_or(|best| loss < best * (1.0 - plateau.threshold)) {
            self.best = Some(loss);
            self.bad_epochs = 0;
        } else {
            self.bad_epochs += 1;
        }
        if self.cooldown > 0 {
            self.cooldown -= 1;
            self.bad_epochs = 0;
        }
        if self.bad_epochs > plateau.patience {
            self.lower(plateau);
            self.cooldown = plateau.cooldown;
            self.bad_epochs = 0;
        }
    }

    fn lower(&mut self, plateau: &Plateau) {
        for rate in &mut self.current {
            let lower = (*rate * plateau.factor).max(plateau.min_learning_rate);
            if *rate - lower > NEGLIGIBLE {
                *rate = lower;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Losses and rates that `tests/optimizer/generate.py` recorded from PyTorch.
    #[derive(Deserialize)]
    struct Recorded {
        plateau: Plateau,
        learning_rate: f64,
        losses: Vec<f64>,
        learning_rates: Vec<f64>,
    }

    #[test]
    fn plateau_follows_pytorchs() {
        let recorded: Vec<Recorded> =
            serde_json::from_str(include_str!("../../tests/optimizer/plateau.json")).unwrap();
        assert!(recorded.len() >= 4);
        for Recorded { plateau, learning_rate, losses, learning_rates } in recorded {
            let mut rates = Rates::new(vec![learning_rate, 2.0 * learning_rate]);
            for (epoch, (loss, expected)) in losses.iter().zip(&learning_rates).enumerate() {
                rates.observe(*loss, &plateau);
                let found = rates.at(Schedule::Plateau, 7, 0, 10);
                assert!(
                    (found[0] / expected - 1.0).abs() < 1e-12,
                    "epoch {epoch}: {found:?}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn an_edited_rate_keeps_what_a_plateau_took_off() {
        let mut rates = Rates::new(vec![1.0, 0.3]);
        let plateau = Plateau { patience: 0, ..Plateau::default() };
        [1.0, 1.0].iter().for_each(|&loss| rates.observe(loss, &plateau));
        assert!(rates.follow(vec![0.1, 0.3]));
        assert_eq!(rates.at(Schedule::Plateau, 0, 0, 1), [0.05, 0.15]);
        assert!(!rates.follow(vec![0.1]));
    }

    #[test]
    fn warm_up_climbs_and_cosine_falls_to_nothing() {
        let rates = Rates::new(vec![1.0]);
        let cosine = |step| rates.at(Schedule::Cosine, step, 4, 14)[0];
        assert_eq!([0, 1, 2, 3, 4].map(cosine), [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!((cosine(9) - 0.5).abs() < 1e-12);
        assert!(cosine(13) < 0.03 && cosine(13) > 0.0);
        assert_eq!(rates.at(Schedule::Constant, 13, 0, 14), [1.0]);
        // Nothing but warm-up.
        assert_eq!(rates.at(Schedule::Cosine, 3, 4, 4), [1.0]);
    }
}
