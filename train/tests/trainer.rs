//! The training loop on a small network: gradients, averages, early stopping, divergence, mixed precision.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::collections::HashSet;

use ferronnx_infer::Preprocessor;
use ferronnx_models::card::Preprocessing;
use ferronnx_models::layers::{Conv2d, Linear};
use ferronnx_models::{Module, Ops, Reduce, Weights, shapes};
use ferronnx_train::data::batches::Loader;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::images::{ImageSet, Loading};
use ferronnx_train::optimizer::Settings;
use ferronnx_train::params::Params;
use ferronnx_train::recipe::Recipe;
use ferronnx_train::trainer::{Amp, Epoch, Options, Snapshot, TrainError, Trainer};
use ndarray::ArrayD;
use tch::Device;

/// A convolution, a pool and a head, without batch norm, so that a batch may be split.
struct Tiny {
    conv: Conv2d,
    fc: Linear,
}

impl Tiny {
    fn new() -> Self {
        let fc = Linear::new("fc", 4, 3);
        Self { conv: Conv2d { padding: 1, ..Conv2d::new("conv", 3, 4, 3) }, fc }
    }
}

impl Module for Tiny {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let x = ops.relu(&ops.conv2d(x, &self.conv)?)?;
        ops.linear(&ops.reduce(&x, Reduce::Mean, &[2, 3], false)?, &self.fc)
    }
}

fn recipe(change: impl FnOnce(&mut Recipe)) -> Recipe {
    let mut recipe = Recipe::load("from-scratch").unwrap().scaled_to(1);
    recipe.batch_size = 8;
    change(&mut recipe);
    recipe.check().unwrap();
    recipe
}

/// Weights and metrics of training to the end of a recipe.
struct Run {
    start: Weights,
    epochs: Vec<Epoch>,
    end: Snapshot,
}

fn run(recipe: &Recipe, amp: Option<Amp>) -> Result<Run, TrainError> {
    let (_dir, data) = common::colour_set();
    let preprocessor = Preprocessor::new(&Preprocessing::for_size(8));
    let samples = ImageFolder::scan(&data).unwrap().train;
    let set = ImageSet::load(samples, &preprocessor, Loading::new(Device::Cpu), || ()).unwrap();
    let network = Tiny::new();
    let described = shapes::describe(&network, &[1, 3, 8, 8]).unwrap().params;
    let params = Params::initialise(&described, 3, Device::Cpu).unwrap();
    let start = params.to_weights().unwrap();
    let new = HashSet::new();
    let loader = Loader::new(&set, &preprocessor, Device::Cpu);
    let options = Options { seed: 5, amp, ..Options::default() };
    let mut trainer = Trainer::new(&network, &params, recipe, [loader; 2], &new, options)?;
    let mut epochs = Vec::new();
    while trainer.enter()?.is_some() {
        epochs.extend(trainer.epoch(|_| true)?);
    }
    Ok(Run { start, epochs, end: trainer.snapshot()? })
}

fn difference(a: &Weights, b: &Weights) -> f32 {
    let largest = |a: &ArrayD<f32>, b: &ArrayD<f32>| (a - b).iter().fold(0.0, |max: f32, d| max.max(d.abs()));
    a.iter().fold(0.0, |max, (name, values)| max.max(largest(values, &b[name])))
}

#[test]
fn accumulated_gradients_are_those_of_the_larger_batch() {
    let whole = run(&recipe(|r| r.batch_size = 12), None).unwrap();
    let parts = run(&recipe(|r| (r.batch_size, r.accumulate) = (4, 3)), None).unwrap();
    assert!(difference(&whole.end.weights, &whole.start) > 1e-3, "it learns");
    assert!(difference(&whole.end.weights, &parts.end.weights) < 1e-5);
    let other = run(&recipe(|r| r.batch_size = 4), None).unwrap();
    assert!(difference(&whole.end.weights, &other.end.weights) > 1e-4, "and small steps are others");
}

#[test]
fn the_average_follows_the_weights() {
    // One update: the average has moved by 1 - min(0.5, 2/11) of the way.
    let recipe = recipe(|r| (r.batch_size, r.ema) = (64, Some(0.5)));
    let Run { start, end, .. } = run(&recipe, None).unwrap();
    let average = end.average.unwrap();
    for (name, first) in &start {
        let expected = first + (&end.weights[name] - first) * (1.0 - 2.0 / 11.0);
        let off = (&average[name] - &expected).iter().fold(0.0, |max: f32, d| max.max(d.abs()));
        assert!(off < 1e-6, "{name}: {off}");
    }
}

#[test]
fn a_phase_ends_early_when_nothing_gets_better() {
    let recipe = recipe(|r| {
        r.early_stopping = Some(2);
        r.phases[0].epochs = 9;
        // Too small to change a float.
        r.phases[0].learning_rate = 1e-30;
        r.phases.push(r.phases[0].clone());
        r.phases[1].name = "second".into();
        (r.phases[1].learning_rate, r.phases[1].epochs) = (1e-2, 2);
    });
    let epochs = run(&recipe, None).unwrap().epochs;
    let phases: Vec<_> =
        epochs.iter().map(|epoch| (epoch.metrics.phase.as_str(), epoch.stopped_early)).collect();
    assert_eq!(
        phases,
        [("learn", false), ("learn", false), ("learn", true), ("second", false), ("second", false)]
    );
    assert_eq!(epochs.last().unwrap().metrics.epoch, 5);
}

#[test]
fn a_loss_that_is_not_finite_names_its_step_and_images() {
    let recipe = recipe(|r| (r.batch_size, r.phases[0].learning_rate) = (4, 1e38));
    let error = run(&recipe, None).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("in epoch 1, step 2 (phase \"learn\")"), "{error}");
    assert!(error.contains(".png") && error.contains("and 1 more: lower the learning rate"), "{error}");
}

#[test]
fn smoothing_and_clipping_change_what_is_learned() {
    let plain = run(&recipe(|_| ()), None).unwrap();
    let smooth = run(&recipe(|r| r.label_smoothing = 0.3), None).unwrap();
    assert!(difference(&plain.end.weights, &smooth.end.weights) > 1e-6);
    // Adam does not care about the size of gradients, but for its eps.
    let settings = Settings { eps: 1.0, ..Settings::default() };
    let free = run(&recipe(|r| r.optimizer = settings), None).unwrap();
    let clipped = run(&recipe(|r| (r.optimizer, r.clip_norm) = (settings, Some(1e-6))), None).unwrap();
    assert!(
        difference(&clipped.end.weights, &clipped.start) < 1e-3 * difference(&free.end.weights, &free.start)
    );
}

#[test]
fn mixed_precision_learns_much_the_same() {
    let full = run(&recipe(|_| ()), None).unwrap();
    for amp in [Amp::Bf16, Amp::Fp16] {
        let short = run(&recipe(|_| ()), Some(amp)).unwrap();
        let (a, b) = (&full.epochs[0].metrics, &short.epochs[0].metrics);
        assert_ne!(a.train_loss, b.train_loss, "{amp} computes in fewer bits");
        assert!((a.train_loss / b.train_loss - 1.0).abs() < 0.02, "{amp}: {a:?} {b:?}");
        assert!(difference(&full.end.weights, &short.end.weights) < 5e-3, "{amp}");
        let state = serde_json::to_value(&short.end.position).unwrap();
        assert_eq!(
            state["scaler"].is_object(),
            amp == Amp::Fp16,
            "gradients are scaled in half precision only"
        );
    }
}
