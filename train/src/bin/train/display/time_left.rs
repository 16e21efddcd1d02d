//! Time left of a run, from the measured durations of its epochs and steps.
//!
//! Epochs of a phase take as long as its last ones did. For a phase that has not begun, the time of the measured phase is
//! scaled by the work of a step: a forward pass, a backward pass down to the first parameter that learns, and the
//! gradients of the parameters that learn.

use std::fmt;
use std::time::{Duration, Instant};

use ferronnx_train::recipe::Phase;
use ferronnx_train::trainer::{EpochMetrics, PhaseRecord};

/// Epochs of a phase whose mean duration counts; earlier ones may be of another machine.
const LATEST: usize = 5;
/// Steps before the duration of an epoch is estimated; the first ones are slower.
const STEPS: usize = 3;

/// Estimator of the time until the recipe ends.
#[derive(Debug, Default)]
pub struct TimeLeft {
    phases: Vec<PhaseTime>,
    /// Phase of the next step, and the epochs completed in it.
    phase: usize,
    phase_epoch: usize,
    /// Validation images for one training image.
    validation: f64,
    epoch: Option<Epoch>,
    /// True if a phase may end before its last epoch.
    early_stopping: bool,
}

#[derive(Debug)]
struct PhaseTime {
    name: String,
    epochs: usize,
    /// Work of a step, in forward passes.
    work: f64,
    /// Seconds of its epochs so far.
    measured: Vec<f64>,
}

/// Epoch under way, as far as this process trained it.
#[derive(Debug)]
struct Epoch {
    began: Instant,
    /// Images trained on before `began`.
    before: usize,
    steps: usize,
    /// Share of the epoch's images that is done.
    done: f64,
    /// Estimated seconds of the whole training pass.
    seconds: Option<f64>,
}

impl TimeLeft {
    /// Starts before `phase_epoch` of `phase`, both counted from 0; `plan` has what learns in each of `phases`, and
    /// `metrics` the epochs so far.
    pub fn new(
        phases: &[Phase],
        plan: &[PhaseRecord],
        metrics: &[EpochMetrics],
        [phase, phase_epoch]: [usize; 2],
        early_stopping: bool,
    ) -> Self {
        let work = work(plan);
        let phases = phases.iter().enumerate().map(|(index, phase)| PhaseTime {
            name: phase.name.clone(),
            epochs: phase.epochs,
            work: work.get(index).copied().unwrap_or(3.0),
            measured: metrics
                .iter()
                .filter(|epoch| epoch.phase == phase.name)
                .map(|epoch| epoch.seconds)
                .collect(),
        });
        Self { phases: phases.collect(), phase, phase_epoch, early_stopping, ..Self::default() }
    }

    /// Sets the numbers of images, which the share of validation in an epoch depends on.
    pub fn set_images(&mut self, train: usize, validation: usize) {
        self.validation = validation as f64 / train.max(1) as f64;
    }

    /// Records a step after which `done` of the epoch's `images` are trained on.
    pub fn step(&mut self, done: usize, images: usize, now: Instant) {
        let epoch =
            self.epoch.get_or_insert(Epoch { began: now, before: done, steps: 0, done: 0.0, seconds: None });
        epoch.steps += 1;
        epoch.done = done as f64 / images.max(1) as f64;
        if epoch.steps > STEPS && done > epoch.before {
            let seconds = now.duration_since(epoch.began).as_secs_f64();
            epoch.seconds = Some(seconds * images as f64 / (done - epoch.before) as f64);
        }
    }

    /// Records a complete epoch; `ended` is true if its phase ended early.
    pub fn epoch(&mut self, metrics: &EpochMetrics, ended: bool) {
        self.epoch = None;
        self.phase_epoch += 1;
        let Some(phase) = self.phases.iter_mut().find(|phase| phase.name == metrics.phase) else { return };
        phase.measured.push(metrics.seconds);
        if ended || self.phase_epoch >= phase.epochs {
            self.phase += 1;
            self.phase_epoch = 0;
        }
    }

    /// Estimates the time left; `None` before anything was measured, and at the end.
    pub fn left(&self) -> Option<Left> {
        let current = self.phases.get(self.phase)?;
        let done = self.epoch.as_ref().map_or(0.0, |epoch| epoch.done);
        let epochs = current.epochs.saturating_sub(self.phase_epoch) as f64 - done;
        let later = self.phases[self.phase + 1..].iter();
        let later =
            later.map(|phase| Some(phase.epochs as f64 * self.seconds(phase)?)).sum::<Option<f64>>()?;
        let seconds = epochs.max(0.0) * self.seconds(current)? + later;
        Duration::try_from_secs_f64(seconds).ok().map(|time| Left::new(time, self.early_stopping))
    }

    /// Seconds of an epoch of `phase`: measured, or scaled from the phase that was measured last.
    fn seconds(&self, phase: &PhaseTime) -> Option<f64> {
        if let Some(mean) = phase.mean() {
            return Some(mean);
        }
        let scaled = |from: &PhaseTime, seconds: f64| seconds * self.work(phase) / self.work(from);
        let current = self.phases.get(self.phase)?;
        if let (None, Some(seconds)) = (current.mean(), self.epoch.as_ref().and_then(|epoch| epoch.seconds)) {
            // The steps have no validation in them.
            return Some(scaled(current, seconds * self.work(current) / current.work));
        }
        let measured = self.phases[..=self.phase].iter().rev();
        measured.filter_map(|from| Some(scaled(from, from.mean()?))).next()
    }

    /// Work of an epoch for one training image, in forward passes.
    fn work(&self, phase: &PhaseTime) -> f64 {
        phase.work + self.validation
    }
}

impl PhaseTime {
    fn mean(&self) -> Option<f64> {
        let latest = &self.measured[self.measured.len().saturating_sub(LATEST)..];
        (!latest.is_empty()).then(|| latest.iter().sum::<f64>() / latest.len() as f64)
    }
}

/// Work of a step of each phase, in forward passes: from 1 to 3.
///
/// The longest list of parameters that learn has them in the order of the network.
fn work(plan: &[PhaseRecord]) -> Vec<f64> {
    let order = plan.iter().map(|phase| &phase.trained).max_by_key(|names| names.len());
    let of = |phase: &PhaseRecord| {
        let all = (phase.trained.len() + phase.frozen.len()).max(1) as f64;
        let order = order.map_or(&[][..], Vec::as_slice);
        let first = order.iter().position(|name| phase.trained.contains(name)).unwrap_or(0);
        1.0 + ((order.len() - first) + phase.trained.len()) as f64 / all
    };
    plan.iter().map(of).collect()
}

/// Time left, formatted as `21 min left`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    time: Duration,
    at_most: bool,
}

impl Left {
    /// Makes a time left; `at_most` if the run may end earlier.
    pub fn new(time: Duration, at_most: bool) -> Self {
        Self { time, at_most }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        let at_most = if self.at_most { "≤ " } else { "" };
        match seconds {
            ..60.0 => write!(f, "{at_most}{seconds:.0} s left"),
            ..3600.0 => write!(f, "{at_most}{:.0} min left", (seconds / 60.0).ceil()),
            ..86_400.0 => write!(f, "{at_most}{:.1} h left", seconds / 3600.0),
            _ => write!(f, "{at_most}{:.1} d left", seconds / 86_400.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two phases of four parameters: the last one for 2 epochs, then all for 3.
    fn two() -> TimeLeft {
        let phase = |name: &str, epochs: usize| {
            let text = format!("name = \"{name}\"\nepochs = {epochs}\nlearning_rate = 0.1\ntrain = [\"*\"]");
            toml::from_str::<Phase>(&text).unwrap()
        };
        let record = |name: &str, trained: &[&str], frozen: &[&str]| PhaseRecord {
            name: name.into(),
            trained: trained.iter().map(ToString::to_string).collect(),
            frozen: frozen.iter().map(ToString::to_string).collect(),
            frozen_norms: Vec::new(),
        };
        let plan = [record("head", &["d"], &["a", "b", "c"]), record("all", &["a", "b", "c", "d"], &[])];
        TimeLeft::new(&[phase("head", 2), phase("all", 3)], &plan, &[], [0, 0], false)
    }

    fn epoch(phase: &str, seconds: f64) -> EpochMetrics {
        let text = serde_json::json!({
            "epoch": 1, "phase": phase, "learning_rates": {}, "train_loss": 1.0, "train_accuracy": 0.5,
            "validation_loss": 1.0, "validation_accuracy": 0.5, "images_per_second": 1.0, "seconds": seconds,
        });
        serde_json::from_value(text).unwrap()
    }

    fn seconds(left: &TimeLeft) -> Option<f64> {
        left.left().map(|left| left.time.as_secs_f64())
    }

    #[test]
    fn nothing_is_said_before_something_is_measured() {
        let mut left = two();
        assert_eq!(left.left(), None);
        left.step(1, 100, Instant::now());
        assert_eq!(left.left(), None, "the first step has no duration");
    }

    #[test]
    fn the_first_epoch_is_estimated_from_its_steps() {
        let mut left = two();
        left.set_images(100, 0);
        let began = Instant::now();
        for step in 0..=5 {
            left.step(10 + 10 * step, 100, began + Duration::from_secs(step as u64));
        }
        // 10 images a second: 10 s an epoch; a step of the second phase is twice the work: 1 + 1/4 + 1/4 to 3.
        let expected = 10.0 * (2.0 - 0.6) + 3.0 * 20.0;
        assert!((seconds(&left).unwrap() - expected).abs() < 1e-6, "{:?}", left.left());
    }

    #[test]
    fn validation_is_a_forward_pass() {
        let mut left = two();
        left.set_images(100, 50);
        let began = Instant::now();
        (0..=5).for_each(|step| left.step(10 + 10 * step, 100, began + Duration::from_secs(step as u64)));
        // 10 s of training are 1.5 passes, validation is 0.5 more, an epoch of the second phase 3.5.
        let (first, second) = (10.0 * 2.0 / 1.5, 10.0 * 3.5 / 1.5);
        assert!((seconds(&left).unwrap() - (1.4 * first + 3.0 * second)).abs() < 1e-6, "{:?}", left.left());
    }

    #[test]
    fn measured_epochs_replace_estimates() {
        let mut left = two();
        left.epoch(&epoch("head", 10.0), false);
        assert_eq!(seconds(&left), Some(10.0 + 3.0 * 20.0));
        left.epoch(&epoch("head", 10.0), false);
        assert_eq!(seconds(&left), Some(60.0));
        left.epoch(&epoch("all", 30.0), false);
        assert_eq!(seconds(&left), Some(60.0));
        left.epoch(&epoch("all", 30.0), true);
        assert_eq!(left.left(), None, "the last phase ended early");
    }

    #[test]
    fn a_resumed_run_goes_on_from_its_metrics() {
        let mut left = two();
        let phases = std::mem::take(&mut left.phases);
        let metrics = [epoch("head", 8.0), epoch("head", 12.0), epoch("all", 25.0)];
        let measured = |phase: PhaseTime| {
            let seconds = metrics.iter().filter(|epoch| epoch.phase == phase.name).map(|epoch| epoch.seconds);
            PhaseTime { measured: seconds.collect(), ..phase }
        };
        let left = TimeLeft {
            phases: phases.into_iter().map(measured).collect(),
            phase: 1,
            phase_epoch: 1,
            early_stopping: true,
            ..left
        };
        assert_eq!(seconds(&left), Some(50.0));
        assert_eq!(left.left().unwrap().to_string(), "≤ 50 s left");
    }

    #[test]
    fn times_are_short() {
        let text = |seconds| Left::new(Duration::from_secs(seconds), false).to_string();
        assert_eq!(
            [8, 61, 3599, 7500, 100_000].map(text),
            ["8 s left", "2 min left", "60 min left", "2.1 h left", "1.2 d left"]
        );
    }
}
