//! Learning rate schedules within a phase: constant, plateau, linear, cosine, triangular, one cycle, and warm-up.

use serde::{Deserialize, Serialize};

use crate::error::SettingError;

/// Change of a phase's learning rates over its steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The learning rate stays the same.
    Constant,
    /// The learning rate falls when the validation loss stops falling.
    #[default]
    Plateau,
    /// The learning rate falls along half a cosine to zero at the end of the phase (Loshchilov and Hutter 2017,
    /// arXiv:1608.03983).
    Cosine,
    /// The learning rate falls along a line to zero at the end of the phase.
    Linear,
    /// The learning rate rises along a line to its peak and falls along another (Smith 2017, arXiv:1506.01186): one
    /// triangle in the phase.
    Triangular,
    /// The learning rate rises along half a cosine to its peak and falls along another to nearly nothing (Smith and Topin
    /// 2018, arXiv:1708.07120), as PyTorch's `OneCycleLR`.
    OneCycle,
}

impl Schedule {
    /// True if the rate rises to a peak within the phase.
    pub fn has_peak(self) -> bool {
        matches!(self, Self::Triangular | Self::OneCycle)
    }
}

/// Settings of [`Schedule::OneCycle`] and [`Schedule::Triangular`]; the phase's learning rate is the peak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cycle {
    /// Share of the phase in which the rate rises; 0.3 for one cycle, 0.2 for a triangle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<f64>,
    /// Rate at the start, as a fraction of the peak; 1/25 for one cycle, 0.2 for a triangle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// Rate at the end, as a fraction of the peak; 1/250,000 for one cycle, 0 for a triangle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
    /// Momentum (Adam's first decay rate) at the lowest rate and at the peak, such as `[0.95, 0.85]`; without it the
    /// optimizer's momentum stays the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<[f64; 2]>,
}

impl Cycle {
    /// Checks that every setting is in range.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        if let Some(rise) = self.rise
            && !(rise > 0.0 && rise < 1.0)
        {
            return Err(SettingError::new("cycle.rise", "above 0 and below 1", rise));
        }
        for (fraction, name) in [(self.start, "cycle.start"), (self.end, "cycle.end")] {
            if let Some(fraction) = fraction
                && !(0.0..=1.0).contains(&fraction)
            {
                return Err(SettingError::new(name, "from 0 to 1", fraction));
            }
        }
        self.momentum
            .into_iter()
            .flatten()
            .try_for_each(|value| SettingError::fraction(value, "cycle.momentum"))
    }
}

/// Course of learning rates and momentum over the steps of a phase.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Schedule of the phase.
    pub schedule: Schedule,
    /// Settings of schedules with a peak.
    pub cycle: Cycle,
    /// Steps in which the rates rise from zero, before the schedule begins.
    pub warm_up: usize,
    /// Steps of the phase.
    pub steps: usize,
}

impl Course {
    /// Factor on the learning rates at `step`, counted from 0.
    pub fn factor(&self, step: usize) -> f64 {
        if step < self.warm_up {
            return (step + 1) as f64 / self.warm_up as f64;
        }
        let share = || (step - self.warm_up) as f64 / (self.steps - self.warm_up).max(1) as f64;
        let Cycle { start, end, .. } = self.cycle;
        match self.schedule {
            Schedule::Constant | Schedule::Plateau => 1.0,
            Schedule::Cosine => cosine(1.0, 0.0, share()),
            Schedule::Linear => 1.0 - share(),
            Schedule::Triangular => {
                let (height, rising) = self.height(step);
                let foot = if rising { start.unwrap_or(0.2) } else { end.unwrap_or(0.0) };
                foot + (1.0 - foot) * height
            }
            Schedule::OneCycle => {
                let (height, rising) = self.height(step);
                let start = start.unwrap_or(1.0 / 25.0);
                cosine(if rising { start } else { end.unwrap_or(start / 1e4) }, 1.0, height)
            }
        }
    }

    /// Momentum at `step`, if the schedule changes it.
    pub fn momentum(&self, step: usize) -> Option<f64> {
        let [slow, fast] = self.cycle.momentum?;
        let (height, _) = self.height(step);
        match self.schedule {
            Schedule::Triangular => Some(slow + (fast - slow) * height),
            Schedule::OneCycle => Some(cosine(slow, fast, height)),
            _ => None,
        }
    }

    /// Height above the foot of a triangle whose peak is 1, and whether it rises.
    fn height(&self, step: usize) -> (f64, bool) {
        // A phase of one step has no way up or down.
        if self.steps <= 1 {
            return (1.0, false);
        }
        let (step, steps) = (step as f64, self.steps as f64);
        // PyTorch's `OneCycleLR` reaches its last rate at the last step, a triangle one step after it, where the rate
        // would be zero.
        let (peak, end) = match self.schedule {
            Schedule::OneCycle => (self.cycle.rise.unwrap_or(0.3) * steps - 1.0, steps - 1.0),
            _ => ((self.cycle.rise.unwrap_or(0.2) * steps).floor(), steps),
        };
        if step <= peak && peak > 0.0 {
            return (step / peak, true);
        }
        ((end - step) / (end - peak), false)
    }
}

/// Value between `from` and `to` along half a cosine, at `share` of the way.
fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + 0.5 * (from - to) * (1.0 + (std::f64::consts::PI * share).cos())
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

    /// Computes the rates at `step`, counted from 0, of a phase.
    pub fn at(&self, course: &Course, step: usize) -> Vec<f64> {
        let factor = course.factor(step);
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
                let found = rates.at(&course(Schedule::Plateau, 0, 10), 7);
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
        assert_eq!(rates.at(&course(Schedule::Plateau, 0, 1), 0), [0.05, 0.15]);
        assert!(!rates.follow(vec![0.1]));
    }

    #[test]
    fn warm_up_climbs_and_cosine_falls_to_nothing() {
        let cosine = |step| course(Schedule::Cosine, 4, 14).factor(step);
        assert_eq!([0, 1, 2, 3, 4].map(cosine), [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!((cosine(9) - 0.5).abs() < 1e-12);
        assert!(cosine(13) < 0.03 && cosine(13) > 0.0);
        assert_eq!(course(Schedule::Constant, 0, 14).factor(13), 1.0);
        // Nothing but warm-up.
        assert_eq!(course(Schedule::Cosine, 4, 4).factor(3), 1.0);
    }

    /// Settings, and what `tests/optimizer/generate.py` recorded from PyTorch at each step.
    #[derive(Deserialize)]
    struct Stepped {
        schedule: Schedule,
        cycle: Cycle,
        learning_rate: f64,
        learning_rates: Vec<f64>,
        momentums: Option<Vec<f64>>,
    }

    #[test]
    fn schedules_by_step_follow_pytorchs() {
        let packed = &include_bytes!("../../tests/optimizer/schedules.json.gz")[..];
        let recorded: Vec<Stepped> = serde_json::from_reader(flate2::read::GzDecoder::new(packed)).unwrap();
        assert!(recorded.len() >= 6);
        for Stepped { schedule, cycle, learning_rate, learning_rates, momentums } in recorded {
            let steps = learning_rates.len();
            let course = Course { schedule, cycle, warm_up: 0, steps };
            let rates = Rates::new(vec![learning_rate]);
            for (step, expected) in learning_rates.iter().enumerate() {
                let found = rates.at(&course, step)[0];
                let what = format!("{schedule:?} {cycle:?}, step {step} of {steps}");
                assert!((found - expected).abs() <= 1e-9 * learning_rate, "{what}: {found}, not {expected}");
                let momentum = momentums.as_ref().map(|momentums| momentums[step]);
                let near = course.momentum(step).zip(momentum).map(|(a, b)| (a - b).abs() < 1e-9);
                assert_eq!(near, momentum.map(|_| true), "{what}: {:?}", course.momentum(step));
            }
        }
    }

    #[test]
    fn the_shortest_phases_have_finite_rates() {
        for schedule in [Schedule::Linear, Schedule::Triangular, Schedule::OneCycle, Schedule::Cosine] {
            for steps in 1..12 {
                let course = course(schedule, 0, steps);
                let factors: Vec<f64> = (0..steps).map(|step| course.factor(step)).collect();
                assert!(
                    factors.iter().all(|factor| (0.0..=1.0).contains(factor)),
                    "{schedule:?} {factors:?}"
                );
                assert!(factors.iter().any(|factor| *factor > 0.1), "{schedule:?} {factors:?}");
            }
        }
    }

    fn course(schedule: Schedule, warm_up: usize, steps: usize) -> Course {
        Course { schedule, cycle: Cycle::default(), warm_up, steps }
    }
}
