//! Measures training steps and an epoch, for comparison with PyTorch by `benches/peers/training.py`.
//!
//! Usage: `training DATA THREADS STEPS`, where DATA is a folder of class folders. Prints one JSON object: milliseconds
//! of each step on one fixed batch, milliseconds of each step of the optimizers alone, and images per second of an epoch
//! with the augmentation of the three-phase recipe. All parameters learn.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use ferronnx_infer::Preprocessor;
use ferronnx_models::card::Preprocessing;
use ferronnx_models::resnet::{Architecture, ResNet18};
use ferronnx_models::{Module, shapes};
use ferronnx_train::data::batches::Loader;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::images::{ImageSet, Loading};
use ferronnx_train::data::split;
use ferronnx_train::eager::Eager;
use ferronnx_train::optimizer::{Algorithm, Optimizer, Settings};
use ferronnx_train::params::Params;
use ferronnx_train::recipe::Recipe;
use ferronnx_train::trainer::{Options, Trainer};
use tch::{Device, Kind, Reduction, Tensor};

const BATCH: i64 = 64;
const SIDE: u32 = 32;
const OPTIMIZER_STEPS: usize = 100;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, threads, steps] = &arguments[..] else {
        anyhow::bail!("usage: training DATA THREADS STEPS");
    };
    let steps: usize = steps.parse().context("STEPS")?;
    tch::set_num_threads(threads.parse().context("THREADS")?);
    let folder = ImageFolder::scan(Path::new(data))?;
    let network = ResNet18::new(&Architecture { classes: folder.classes.len(), ..Architecture::default() })?;
    let described = shapes::describe(&network, &[1, 3, SIDE as usize, SIDE as usize])?.params;
    let params = Params::initialise(&described, 1, Device::Cpu)?;
    let step_ms = time_steps(&network, &params, steps)?;
    let adam_ms = time_optimizer(&params, Settings::default())?;
    let sgd_ms = time_optimizer(&params, SGD)?;
    let images_per_second = time_epoch(&network, &params, folder, steps)?;
    #[allow(clippy::print_stdout)] // the answer
    {
        println!(
            "{}",
            serde_json::json!({
                "step_ms": step_ms,
                "adam_ms": adam_ms,
                "sgd_ms": sgd_ms,
                "images_per_second": images_per_second,
            })
        );
    }
    Ok(())
}

/// Runs `steps` training steps after two uncounted ones, and returns the milliseconds of each.
fn time_steps(network: &ResNet18, params: &Params, steps: usize) -> Result<Vec<f64>> {
    let images = Tensor::randn([BATCH, 3, i64::from(SIDE), i64::from(SIDE)], (Kind::Float, Device::Cpu));
    let labels = Tensor::randint(10, [BATCH], (Kind::Int64, Device::Cpu));
    let mut optimizer = Optimizer::new(Settings::default());
    for (name, tensor) in params.trainable() {
        optimizer.add(name, &tensor.set_requires_grad(true), 0)?;
    }
    let none = HashSet::new();
    let mut times = Vec::with_capacity(steps);
    for step in 0..steps + 2 {
        let started = Instant::now();
        optimizer.zero_grad();
        let logits = network.forward(&Eager::train(params, &none), &images)?;
        logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0).backward();
        optimizer.step(&[1e-3], None, None)?;
        if step >= 2 {
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}

/// Settings of the one-cycle recipe: weight decay leaves out biases and norms.
const SGD: Settings = Settings {
    name: Algorithm::Sgd,
    momentum: 0.9,
    nesterov: true,
    betas: [0.9, 0.999],
    eps: 1e-8,
    weight_decay: 5e-4,
    decay_biases_and_norms: false,
};

/// Runs steps of an optimizer on the gradients that there are, and returns the milliseconds of each.
fn time_optimizer(params: &Params, settings: Settings) -> Result<Vec<f64>> {
    let mut optimizer = Optimizer::new(settings);
    for (name, tensor) in params.trainable() {
        optimizer.add(name, tensor, 0)?;
    }
    let mut time = || -> Result<f64> {
        let started = Instant::now();
        optimizer.step(&[1e-6], None, None)?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    (0..OPTIMIZER_STEPS).map(|_| time()).collect()
}

/// Runs an epoch of `steps` batches and returns its images per second.
fn time_epoch(network: &ResNet18, params: &Params, folder: ImageFolder, steps: usize) -> Result<f64> {
    let mut recipe = Recipe::load("three-phase")?.scaled_to(1);
    recipe.phases[0].train = vec!["*".into()];
    recipe.batch_size = BATCH as usize;
    let preprocessor = Preprocessor::new(&Preprocessing::for_size(SIDE));
    let load = |count| {
        let samples = split::limited(&folder.train, count, 1);
        ImageSet::load(samples, &preprocessor, Loading::new(Device::Cpu), || ())
    };
    let (train, validation) = (load(steps * BATCH as usize)?, load(2)?);
    let loaders = [&train, &validation].map(|set| Loader::new(set, &preprocessor, Device::Cpu));
    let new = HashSet::new();
    let mut trainer = Trainer::new(network, params, &recipe, loaders, &new, Options::default())?;
    let epoch = trainer.epoch(|_| true)?.context("the epoch was not complete")?;
    Ok(epoch.metrics.images_per_second)
}
