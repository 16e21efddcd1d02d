//! Learning-rate finder: the loss at rising learning rates, and the rates that it suggests.
//!
//! The range test of Smith 2017, arXiv:1506.01186, with the suggestions that fastai and Lightning made known. The loss
//! is smoothed over fewer steps than theirs (0.9 instead of 0.98): at 0.98 the curve lags behind the rate. [`Run::find_learning_rate`](crate::run::Run::find_learning_rate) measures the curve.

mod page;

use serde::Serialize;

pub use self::page::page;
use crate::trainer::Sweep;

/// Weight of the past in the moving average of the loss.
const SMOOTHING: f64 = 0.9;
/// Multiple of the lowest smoothed loss at which training has diverged.
const DIVERGED: f64 = 4.0;
/// Share of the steps at the start in which the moving average is too young for a slope.
const YOUNG: f64 = 0.1;
/// Fall of the smoothed loss, as a share of it, below which it is noise.
const FLAT: f64 = 0.02;
/// Share of the whole fall of the smoothed loss after which it has clearly begun: slopes before are noise.
const BEGUN: f64 = 0.25;
/// Multiple of the noise of the smoothed loss that a fall has to exceed.
const CLEAR: f64 = 3.0;
/// Share of the steps on either side over which a slope is taken.
const REACH: f64 = 0.05;

/// Loss of one step at its learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Learning rate: `learning_rate` of the recipe's first phase.
    pub learning_rate: f64,
    /// Mean loss over the images of the step, before its update.
    pub loss: f64,
    /// Exponential moving average of the losses, without the bias of its start.
    pub smoothed: f64,
}

/// Training loss as a function of the learning rate.
#[derive(Debug, Clone, PartialEq)]
pub struct LossCurve {
    sweep: Sweep,
    points: Vec<Point>,
    average: f64,
    diverged: bool,
}

impl LossCurve {
    /// Makes an empty curve over the range of `sweep`.
    pub fn new(sweep: Sweep) -> Self {
        Self { sweep, points: Vec::new(), average: 0.0, diverged: false }
    }

    /// Adds the loss of the next step; false when training has diverged and the range test should end.
    pub(crate) fn push(&mut self, loss: f64) -> bool {
        if !loss.is_finite() {
            self.diverged = true;
            return false;
        }
        let step = self.points.len();
        self.average = SMOOTHING * self.average + (1.0 - SMOOTHING) * loss;
        let smoothed = self.average / (1.0 - SMOOTHING.powi(step as i32 + 1));
        let lowest = self.points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
        self.points.push(Point { learning_rate: self.sweep.rate(step), loss, smoothed });
        self.diverged = smoothed > DIVERGED * lowest;
        !self.diverged
    }

    /// Records the end of the range test: one that ended before its last rate, ended at a loss that is not finite.
    pub(crate) fn ended(&mut self) {
        self.diverged |= self.points.len() < self.sweep.steps;
    }

    /// Range that was asked for.
    pub fn sweep(&self) -> Sweep {
        self.sweep
    }

    /// Points in the order of rising rates.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// True if the loss exploded before the last rate.
    pub fn diverged(&self) -> bool {
        self.diverged
    }

    /// Index of the lowest smoothed loss.
    fn lowest(&self) -> Option<usize> {
        let points = self.points.iter().enumerate();
        points.min_by(|(_, a), (_, b)| a.smoothed.total_cmp(&b.smoothed)).map(|(index, _)| index)
    }

    /// First index whose moving average is old enough for a slope.
    fn grown(&self) -> usize {
        ((self.sweep.steps as f64 * YOUNG).ceil() as usize).max(1)
    }

    /// Point of the lowest smoothed loss.
    pub fn minimum(&self) -> Option<Point> {
        self.lowest().map(|index| self.points[index])
    }

    /// Highest smoothed loss between the young start and the minimum: the level that the loss falls from.
    fn level(&self) -> Option<f64> {
        let before = self.points.get(self.grown()..=self.lowest()?)?;
        before.iter().map(|point| point.smoothed).max_by(f64::total_cmp)
    }

    /// Standard deviation of the smoothed loss that the choice of images alone makes.
    fn noise(&self) -> f64 {
        // Neighbours differ by two independent errors, and hardly by the rate; beyond the minimum they swing.
        let until = &self.points[..self.lowest().map_or(0, |lowest| lowest + 1)];
        let squares = until.windows(2).map(|pair| (pair[1].loss - pair[0].loss).powi(2) / 2.0);
        let variance = squares.sum::<f64>() / (until.len().max(2) - 1) as f64;
        (variance * (1.0 - SMOOTHING) / (1.0 + SMOOTHING)).sqrt()
    }

    /// Point at which the smoothed loss falls fastest over the logarithm of the rate, from where the fall has clearly
    /// begun to the minimum.
    ///
    /// `None` when the loss does not fall after the first tenth of the range.
    pub fn steepest(&self) -> Option<Point> {
        // The rates rise by a constant factor, so a step is a constant distance.
        let reach = ((self.sweep.steps as f64 * REACH) as usize).max(1);
        let slope = |index: usize| self.points[index + reach].smoothed - self.points[index - reach].smoothed;
        let (lowest, level) = (self.lowest()?, self.level()?);
        let begun = level - BEGUN * (level - self.points[lowest].smoothed);
        let before = self.points[..lowest].iter().rposition(|point| point.smoothed > begun);
        let start = before.map_or(0, |index| index + 1).max(self.grown()).max(reach);
        let end = lowest.min(self.points.len().saturating_sub(1 + reach));
        let steepest = (start.min(end)..=end).min_by(|a, b| slope(*a).total_cmp(&slope(*b)))?;
        (steepest >= reach && slope(steepest) < 0.0).then(|| self.points[steepest])
    }

    /// Suggested learning rate: that of the steepest descent, and of a tenth of the minimum's rate.
    ///
    /// # Errors
    /// [`NoSuggestion`] when the curve does not show one.
    pub fn suggestion(&self) -> Result<Suggestion, NoSuggestion> {
        if self.points.len() <= self.grown() {
            return Err(NoSuggestion::TooShort(self.points.len()));
        }
        let (minimum, level) = self.minimum().zip(self.level()).ok_or(NoSuggestion::Flat)?;
        let steepest = self.steepest().ok_or(NoSuggestion::Flat)?;
        let fall = level - minimum.smoothed;
        if fall < FLAT * level {
            return Err(NoSuggestion::Flat);
        }
        if fall < CLEAR * self.noise() {
            return Err(NoSuggestion::Noisy);
        }
        Ok(Suggestion {
            learning_rate: steepest.learning_rate,
            steepest: steepest.learning_rate,
            minimum: minimum.learning_rate,
            minimum_tenth: minimum.learning_rate / 10.0,
            still_falling: !self.diverged && self.lowest() == Some(self.points.len() - 1),
        })
    }
}

/// Learning rates that a curve suggests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Suggestion {
    /// Rate to train with: the steepest descent.
    pub learning_rate: f64,
    /// Rate at which the smoothed loss falls fastest.
    pub steepest: f64,
    /// Rate of the lowest smoothed loss.
    pub minimum: f64,
    /// A tenth of that rate.
    pub minimum_tenth: f64,
    /// True if the loss was still falling at the last rate: the range is too narrow.
    pub still_falling: bool,
}

/// Reasons why a curve suggests no learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSuggestion {
    /// The loss did not fall.
    #[error(
        "the smoothed loss does not fall by 2 % anywhere in the range: try other rates, more steps or larger batches"
    )]
    Flat,
    /// The loss differs more between batches than it falls.
    #[error(
        "the loss differs more from batch to batch than it falls: try more steps, larger batches or a wider range of rates"
    )]
    Noisy,
    /// Training diverged at once.
    #[error("training diverged after {0} steps: begin at a lower learning rate")]
    TooShort(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWEEP: Sweep = Sweep { from: 1e-5, to: 1e1, steps: 121 };

    fn curve(loss: impl Fn(f64) -> f64) -> LossCurve {
        let mut curve = LossCurve::new(SWEEP);
        for step in 0..SWEEP.steps {
            if !curve.push(loss(SWEEP.rate(step))) {
                break;
            }
        }
        curve.ended();
        curve
    }

    /// Falls fastest at 1e-2, and explodes above 1.
    fn typical(rate: f64) -> f64 {
        let fall = 1.0 / (1.0 + (-4.0 * (rate.log10() + 2.0)).exp());
        2.3 - 1.8 * fall + if rate > 1.0 { 100.0 * (rate - 1.0) } else { 0.0 }
    }

    #[test]
    fn the_average_has_no_bias_at_the_start() {
        let curve = curve(|_| 2.0);
        assert!(curve.points().iter().all(|point| (point.smoothed - 2.0).abs() < 1e-12));
        assert_eq!(curve.suggestion(), Err(NoSuggestion::Flat));
        assert!(!curve.diverged());
    }

    #[test]
    fn the_steepest_descent_is_near_the_fall_and_before_the_minimum() {
        let curve = curve(typical);
        let found = curve.suggestion().unwrap();
        // The average lags behind the loss.
        assert!((5e-3..1e-1).contains(&found.steepest), "{found:?}");
        assert!(found.steepest < found.minimum && found.minimum < 3.0, "{found:?}");
        assert_eq!(found.minimum_tenth, found.minimum / 10.0);
        assert!(curve.diverged() && !found.still_falling && curve.points().len() < 121);
    }

    /// Noise of +-1 that is the same every time.
    fn noise(step: usize) -> f64 {
        let mixed =
            (step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0x2545_f491);
        (mixed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    #[test]
    fn a_noisy_start_is_not_the_steepest_descent() {
        let step = |rate: f64| (rate / SWEEP.from).log10() / (1e6_f64).log10() * 120.0;
        // The noise falls by more than the loss does anywhere, but far from where the loss falls.
        let noisy = curve(|rate| {
            let early = if rate < 1e-3 { 0.5 * noise(step(rate).round() as usize) } else { 0.0 };
            typical(rate) + early
        });
        let found = noisy.suggestion().unwrap();
        assert!((4e-3..1e-1).contains(&found.steepest), "{found:?}");
        let only_noise = curve(|rate| 2.3 + 0.5 * noise(step(rate).round() as usize));
        assert!(only_noise.suggestion().is_err(), "{:?}", only_noise.suggestion());
    }

    #[test]
    fn a_range_that_ends_too_early_is_known() {
        let found = curve(|rate| 2.3 - 0.2 * (rate * 1e5).ln() / 2.0).suggestion().unwrap();
        assert!(found.still_falling, "{found:?}");
    }

    #[test]
    fn a_loss_that_is_not_finite_ends_the_test_and_is_no_point() {
        let mut curve = LossCurve::new(SWEEP);
        assert!(curve.push(2.0) && !curve.push(f64::NAN));
        assert_eq!(curve.points().len(), 1);
        assert!(curve.diverged());
        assert_eq!(curve.suggestion(), Err(NoSuggestion::TooShort(1)));
    }

    #[test]
    fn a_loss_that_only_rises_suggests_nothing() {
        assert_eq!(curve(|rate| 2.0 + rate.min(0.5)).suggestion(), Err(NoSuggestion::Flat));
    }
}
