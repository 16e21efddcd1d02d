//! Measures training, for comparison with PyTorch by `benches/peers/training.py` and `benches/gpu/training.sh`.
//!
//! Prints one JSON object for each combination of batch size, precision, augmentation and attention: images per second of an epoch and milliseconds of its steps, and on the CPU also milliseconds
//! of each step on one fixed batch and of each step of the optimizers alone. The optimizer is Adam and the augmentation
//! that of the three-phase recipe. All parameters learn. TensorFloat-32 is libtorch's default: in convolutions only.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use benches::device::synchronize;
use benches::median;
use clap::{Parser, ValueEnum};
use ferronnx_infer::Preprocessor;
use ferronnx_models::card::Preprocessing;
use ferronnx_models::layers::Attention;
use ferronnx_models::networks::{Architecture, Classifier, Stem};
use ferronnx_models::{Module, shapes};
use ferronnx_train::data::augment::Augment;
use ferronnx_train::data::batches::Loader;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::images::{ImageSet, Loading};
use ferronnx_train::data::split;
use ferronnx_train::device::{self, DeviceRequest};
use ferronnx_train::eager::Eager;
use ferronnx_train::optimizer::{Algorithm, Optimizer, Settings};
use ferronnx_train::params::Params;
use ferronnx_train::recipe::Recipe;
use ferronnx_train::trainer::{Amp, Options, Trainer};
use serde_json::{Value, json};
use tch::{Device, Kind, Reduction, Tensor};

const OPTIMIZER_STEPS: usize = 100;

/// Measure training of ResNet18 on a folder of images
#[derive(Parser)]
struct Args {
    /// Folder of class folders
    data: PathBuf,
    /// Threads of libtorch on the CPU
    threads: i32,
    /// Steps of an epoch
    steps: usize,
    /// Device: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceRequest,
    /// Images per step
    #[arg(long, default_value = "64", value_name = "N,...", value_delimiter = ',')]
    batch: Vec<usize>,
    /// Precision: fp32, or bf16 or fp16 for mixed precision
    #[arg(long, default_value = "fp32", value_name = "FLOAT,...", value_delimiter = ',')]
    amp: Vec<String>,
    /// Augment the images of an epoch
    #[arg(long, default_value = "on", value_delimiter = ',')]
    augment: Vec<Switch>,
    /// Attention after each stage
    #[arg(long, default_value = "on", value_delimiter = ',')]
    attention: Vec<Switch>,
    /// Height and width of the network's input
    #[arg(long, default_value_t = 32)]
    size: u32,
    /// Decode the images in every epoch, and measure that alone too
    #[arg(long)]
    from_files: bool,
    /// Record a step as a CUDA graph
    #[arg(long, value_enum, default_value_t = Switch::On)]
    graphs: Switch,
    /// Epochs; the median counts, and of several the first does not
    #[arg(long, default_value_t = 1)]
    epochs: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Switch {
    fn is_on(self) -> bool {
        self == Self::On
    }
}

/// One combination of what is measured.
struct Case {
    batch: usize,
    amp: Option<Amp>,
    augment: bool,
    attention: bool,
}

impl Args {
    fn cases(&self) -> Result<Vec<Case>> {
        let amps = self.amp.iter().map(|name| if name == "fp32" { Ok(None) } else { name.parse().map(Some) });
        let amps: Vec<Option<Amp>> = amps.collect::<Result<_, _>>()?;
        let mut cases = Vec::new();
        for &batch in &self.batch {
            for &amp in &amps {
                for attention in &self.attention {
                    let case = |augment: &Switch| Case {
                        batch,
                        amp,
                        augment: augment.is_on(),
                        attention: attention.is_on(),
                    };
                    cases.extend(self.augment.iter().map(case));
                }
            }
        }
        Ok(cases)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = device::find(args.device)?;
    tch::set_num_threads(args.threads);
    device::prepare(device, false)?;
    let folder = ImageFolder::scan(&args.data)?;
    for case in args.cases()? {
        let found = measured(&args, &case, device, &folder)?;
        #[allow(clippy::print_stdout)] // the answer
        {
            println!("{found}");
        }
    }
    Ok(())
}

/// Measures one case and describes it.
fn measured(args: &Args, case: &Case, device: Device, folder: &ImageFolder) -> Result<Value> {
    let attention = case.attention.then(|| Attention::default().into());
    let (classes, stem) = (folder.classes.len(), Stem::for_size(args.size));
    let architecture = Architecture { classes, stem, attention, ..Architecture::default() };
    let network = Classifier::new(&architecture)?;
    let described = shapes::describe(&network, &[1, 3, args.size as usize, args.size as usize])?.params;
    let params = Params::initialise(&described, 1, device)?;
    let mut found = match device {
        Device::Cpu => alone(&network, &params, args, case.batch)?,
        _ => json!({}),
    };
    let Measured { rate, loaded, graphs, unrecorded } = time_epochs(&network, &params, folder, args, case)?;
    found["images_per_second"] = rate.into();
    if let Some(loaded) = loaded {
        found["loaded_images_per_second"] = loaded.into();
    }
    found["size"] = args.size.into();
    found["ms"] = (1e3 * case.batch as f64 / rate).into();
    found["side"] = "ours".into();
    found["form"] = form(graphs > 0, case.attention).into();
    found["graphs"] = graphs.into();
    if let Some(reason) = unrecorded {
        found["unrecorded"] = reason.into();
    }
    found["device"] = DeviceRequest::from(device).to_string().into();
    found["batch"] = case.batch.into();
    found["amp"] = case.amp.map_or("fp32".into(), |amp| amp.to_string()).into();
    found["augment"] = case.augment.into();
    Ok(found)
}

/// Way to train, in reports; captured is a step that was recorded as a CUDA graph.
fn form(captured: bool, attention: bool) -> &'static str {
    match (captured, attention) {
        (true, true) => "captured",
        (false, true) => "eager",
        (true, false) => "captured, no attention",
        (false, false) => "eager, no attention",
    }
}

/// Times of steps on one fixed batch, and of the optimizers.
fn alone(network: &Classifier, params: &Params, args: &Args, batch: usize) -> Result<Value> {
    Ok(json!({
        "step_ms": time_steps(network, params, args, batch)?,
        "adam_ms": time_optimizer(params, Settings::default())?,
        "sgd_ms": time_optimizer(params, SGD)?,
    }))
}

/// Runs `steps` training steps after two uncounted ones, and returns the milliseconds of each.
fn time_steps(network: &Classifier, params: &Params, args: &Args, batch: usize) -> Result<Vec<f64>> {
    let (batch, side, steps) = (batch as i64, i64::from(args.size), args.steps);
    let images = Tensor::randn([batch, 3, side, side], (Kind::Float, Device::Cpu));
    let labels = Tensor::randint(10, [batch], (Kind::Int64, Device::Cpu));
    let mut optimizer = Optimizer::new(Settings::default());
    for (name, tensor) in params.trainable() {
        optimizer.add(name, &tensor.set_requires_grad(true), 0)?;
    }
    let none = HashSet::new();
    let mut times = Vec::with_capacity(steps);
    for step in 0..steps + 2 {
        let started = Instant::now();
        optimizer.forget_gradients()?;
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
    let time = || -> Result<f64> {
        let started = Instant::now();
        optimizer.step(&[1e-6], None, None)?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    (0..OPTIMIZER_STEPS).map(|_| time()).collect()
}

/// Speed of training, in images per second.
struct Measured {
    rate: f64,
    /// Speed of making batches that are not trained on, where images are decoded in every epoch.
    loaded: Option<f64>,
    /// Number of CUDA graphs that were recorded.
    graphs: usize,
    /// Reason for which a step was not.
    unrecorded: Option<String>,
}

/// Trains epochs and returns the median of their rates.
fn time_epochs(
    network: &Classifier,
    params: &Params,
    folder: &ImageFolder,
    args: &Args,
    case: &Case,
) -> Result<Measured> {
    let mut recipe = Recipe::load("three-phase")?.scaled_to(1);
    recipe.phases[0].train = vec!["*".into()];
    recipe.phases[0].epochs = args.epochs;
    recipe.batch_size = case.batch;
    if !case.augment {
        recipe.augment = Augment::default();
    }
    let preprocessor = Preprocessor::new(&Preprocessing::for_size(args.size));
    let device = params.device();
    let load = |count, originals| {
        let samples = split::limited(&folder.train, count, 1);
        ImageSet::load(samples, &preprocessor, Loading { originals, ..Loading::new(device) }, || ())
    };
    let (train, validation) = (load(args.steps * case.batch, args.from_files)?, load(2, false)?);
    let loaders = [&train, &validation].map(|set| Loader::new(set, &preprocessor, device));
    let loaded = args.from_files.then(|| time_loading(loaders[0], &recipe, device)).transpose()?;
    let new = HashSet::new();
    let options = Options { amp: case.amp, graphs: args.graphs.is_on(), ..Options::default() };
    let mut trainer = Trainer::new(network, params, &recipe, loaders, &new, options)?;
    let mut rates = Vec::new();
    for _ in 0..args.epochs {
        let epoch = trainer.epoch(|_| true)?.context("the epoch was not complete")?;
        rates.push(epoch.metrics.images_per_second);
    }
    // The first epoch also starts the device and searches for algorithms.
    let counted = rates.split_off(usize::from(rates.len() > 1));
    let (graphs, unrecorded) = (trainer.graphs(), trainer.unrecorded());
    Ok(Measured { rate: median(counted), loaded, graphs, unrecorded })
}

/// Makes the batches of an epoch and returns the images per second.
fn time_loading(loader: Loader<'_>, recipe: &Recipe, device: Device) -> Result<f64> {
    let started = Instant::now();
    let mut images = 0;
    for batch in loader.training(&recipe.augment, recipe.batch_size, 0, 0, 0) {
        images += batch?.len();
    }
    synchronize(device);
    Ok(images as f64 / started.elapsed().as_secs_f64())
}
