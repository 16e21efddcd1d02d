//! How learning rates change within a phase.

use serde::{Deserialize, Serialize};

/// The shape of a phase's learning rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls when the validation loss no longer does.
    #[default]
    Plateau,
    /// It falls along half a cosine to nothing at the end of the phase (Loshchilov and Hutter 2017, arXiv:1608.03983).
    Cosine,
}

/// Settings of [`Schedule::Plateau`], as of PyTorch's `ReduceLROnPlateau` with mode `min` and a relative threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plateau {
    /// What the rates are multiplied by.
    pub factor: f64,
    /// Epochs without improvement that are accepted; the next one lowers the rates.
    pub patience: usize,
    /// Share by which a loss must fall below the best to count as an improvement.
    pub threshold: f64,
    /// Epochs after lowering in which nothing is counted.
    pub cooldown: usize,
    /// No rate falls below.
    pub min_learning_rate: f64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 0.5, patience: 3, threshold: 1e-4, cooldown: 0, min_learning_rate: 0.0 }
    }
}

impl Plateau {
    /// What is wrong with it, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self { factor, .. } if !(*factor > 0.0 && *factor < 1.0) => {
                Err(format!("plateau.factor must be between 0 and 1, not {factor}"))
            }
            Self { threshold, .. } if !(0.0..1.0).contains(threshold) => {
                Err(format!("plateau.threshold must be at least 0 and below 1, not {threshold}"))
            }
            Self { min_learning_rate, .. }
                if !(*min_learning_rate >= 0.0 && min_learning_rate.is_finite()) =>
            {
                Err(format!("plateau.min_learning_rate must not be negative: {min_learning_rate}"))
            }
            _ => Ok(()),
        }
    }
}

/// A change of a rate smaller than this is none, as in PyTorch.
const NEGLIGIBLE: f64 = 1e-8;

/// The learning rates of a phase's groups as it goes on; saved with a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// What the recipe says, one a group.
    initial: Vec<f64>,
    /// The same after what plateaus made of them, before warm-up and cosine.
    current: Vec<f64>,
    /// Nothing before the first epoch.
    best: Option<f64>,
    bad_epochs: usize,
    cooldown: usize,
}

impl Rates {
    /// The rates that a phase begins with.
    pub fn new(initial: Vec<f64>) -> Self {
        Self { current: initial.clone(), initial, best: None, bad_epochs: 0, cooldown: 0 }
    }

    /// Goes on under a recipe that may have been edited: a rate that was changed keeps what plateaus took off it.
    ///
    /// False when the groups are not the same number.
    pub fn follow(&mut self, recipe: Vec<f64>) -> bool {
        if recipe.len() != self.initial.len() {
            return false;
        }
        for ((current, initial), edited) in self.current.iter_mut().zip(&self.initial).zip(&recipe) {
            // To the bit where nothing was edited, or lowered.
            *current = if *current == *initial { *edited } else { *current * (edited / initial) };
        }
        self.initial = recipe;
        true
    }

    /// The rates at `step` (counted from 0) of a phase of `steps`, the first `warm_up` of which climb.
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

    /// Takes notice of an epoch's validation loss.
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

    /// What `tests/optimizer/generate.py` recorded of PyTorch.
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
