//! Interrupted runs resume to the same bits.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ferronnx_infer::Preprocessor;
use ferronnx_models::card::Preprocessing;
use ferronnx_models::networks::{Architecture, Classifier, Network, Stem};
use ferronnx_models::shapes;
use ferronnx_train::data::batches::Loader;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::images::{ImageSet, Loading};
use ferronnx_train::params::Params;
use ferronnx_train::recipe::Recipe;
use ferronnx_train::run::RunFolder;
use ferronnx_train::trainer::{EpochMetrics, Options, Snapshot, Trainer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::Device;

/// Recipe that uses everything with a state.
const EVERYTHING: &str = r#"
name = "everything"
batch_size = 4
accumulate = 2
clip_norm = 1.0
ema = 0.9
label_smoothing = 0.1
early_stopping = 9
sampling = "balanced"
best = "macro-f1"

[loss]
name = "focal"
class_weights = "balanced"

[optimizer]
name = "adamw"
weight_decay = 0.01

[plateau]
patience = 0

[augment]
crop_padding = 0.125
horizontal_flip = 0.5

[[phase]]
name = "head"
epochs = 4
learning_rate = 1e-3
train = ["@head", "@attention"]

[[phase]]
name = "all"
epochs = 24
learning_rate = 1e-4
new_learning_rate = 1e-3
schedule = "cosine"
warm_up = 0.5
train = ["*"]
"#;

/// Recipe of the same kind for SGD, with rates and momentum by step.
fn by_step() -> String {
    let sgd = "name = \"sgd\"\nmomentum = 0.9\nnesterov = true\ndecay_biases_and_norms = false";
    EVERYTHING
        .replace("name = \"adamw\"", sgd)
        .replace("[plateau]\npatience = 0", "[cycle]\nmomentum = [0.95, 0.85]")
        .replace("crop_padding", "cutout = 0.5\ncrop_border = \"reflect\"\ncrop_padding")
        .replace("learning_rate = 1e-3\ntrain", "learning_rate = 1e-3\nschedule = \"triangular\"\ntrain")
        .replace("schedule = \"cosine\"\nwarm_up = 0.5", "schedule = \"one-cycle\"")
}

/// Trains an epoch of each phase, stopping after every `stop_every` updates: a new trainer goes on each time.
fn train(recipe: &str, architecture: Architecture, stop_every: usize) -> (Vec<EpochMetrics>, Snapshot) {
    let (dir, data) = common::colour_set();
    let file = dir.path().join("everything.toml");
    fs::write(&file, recipe).unwrap();
    let recipe = Recipe::load(file.to_str().unwrap()).unwrap().scaled_to(2);
    let preprocessor = Preprocessor::new(&Preprocessing::for_size(8));
    let ImageFolder { train: samples, classes, .. } = ImageFolder::scan(&data).unwrap();
    let set = ImageSet::load(samples, &preprocessor, Loading::new(Device::Cpu), || ()).unwrap();
    let network = Classifier::new(&Architecture { classes: 3, ..architecture }).unwrap();
    let described = shapes::describe(&network, &[1, 3, 8, 8]).unwrap().params;
    let head = architecture.network.head_weight();
    let new = HashSet::from([head.to_owned(), head.replace("weight", "bias")]);
    let mut snapshot: Option<Snapshot> = None;
    let mut epochs = Vec::new();
    loop {
        // Other random values each time: all that counts must come from the snapshot.
        let seed = if snapshot.is_some() { 99 } else { 1 };
        let params = Params::initialise(&described, seed, Device::Cpu).unwrap();
        let loader = Loader::new(&set, &preprocessor, Device::Cpu);
        let options = Options { seed: 5, labels: &classes, ..Options::default() };
        let mut trainer = Trainer::new(&network, &params, &recipe, [loader; 2], &new, options).unwrap();
        if let Some(snapshot) = &snapshot {
            trainer.restore(snapshot).unwrap();
        }
        if trainer.enter().unwrap().is_none() {
            return (epochs, trainer.snapshot().unwrap());
        }
        let mut updates = 0;
        let done = trainer.epoch(|_| {
            updates += 1;
            updates < stop_every
        });
        if let Some(epoch) = done.unwrap() {
            epochs.push(EpochMetrics { seconds: 0.0, images_per_second: 0.0, ..epoch.metrics });
        }
        snapshot = Some(trainer.snapshot().unwrap());
    }
}

#[test]
fn stopping_after_any_update_changes_nothing() {
    let resnet = Architecture::default();
    // Has dropout.
    let network = Network::MobilenetV3Small;
    let mobilenet = Architecture { network, stem: Stem::Imagenet, attention: None, ..resnet };
    let whole_batches = EVERYTHING.replace("accumulate = 2", "accumulate = 1");
    for (recipe, architecture) in
        [(EVERYTHING.to_owned(), resnet), (by_step(), resnet), (whole_batches, mobilenet)]
    {
        let (epochs, whole) = train(&recipe, architecture, usize::MAX);
        assert_eq!(epochs.len(), 2);
        for stop_every in [1, 3] {
            let (stopped_epochs, stopped) = train(&recipe, architecture, stop_every);
            assert_eq!(stopped_epochs, epochs);
            assert_eq!(stopped.weights, whole.weights);
            assert_eq!(stopped.average, whole.average);
            assert_eq!(stopped.position, whole.position);
        }
    }
}

fn start(dir: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_train"))
        .current_dir(dir)
        .args(arguments)
        .stdout(fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn fit(out: &'static str) -> Vec<&'static str> {
    let data = ["fit", "--data", "colours", "--limit", "15", "--image-size", "8"];
    [&data[..], &["--out", out, "--recipe", "everything.toml", "--device", "cpu"]].concat()
}

/// Waits until `done`, but no longer than `most`.
fn wait(most: Duration, done: impl Fn() -> bool) {
    let deadline = Instant::now() + most;
    while Instant::now() < deadline && !done() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Files of a run that do not depend on time.
const FILES: &[&str] = &[
    "best.safetensors",
    "last/weights.safetensors",
    "last/average.safetensors",
    "last/optimizer.safetensors",
    "predictions.csv",
    "result.json",
    "plan.json",
    "report.html",
];

#[test]
fn twenty_kills_change_nothing() {
    let (dir, _) = common::colour_set();
    fs::write(dir.path().join("everything.toml"), EVERYTHING).unwrap();
    assert!(start(dir.path(), &fit("whole")).wait().unwrap().success());
    let (whole, _) = RunFolder::open(dir.path().join("whole")).unwrap();
    let epochs = whole.metrics().unwrap();
    let seconds = epochs.iter().map(|epoch| epoch.seconds).sum::<f64>() / epochs.len() as f64;

    let run = dir.path().join("killed");
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    for kill in 0..20 {
        let begun = run.join("config.toml").exists();
        let state = run.join("last/state.json");
        let before = fs::read(&state).ok();
        let arguments = if begun { &["fit", "--resume", "killed"][..] } else { &fit("killed")[..] };
        let mut child = start(dir.path(), arguments);
        // Most kills come at any moment from the start on, saving included; the others let an epoch pass, so that the
        // run gets on. None lets more pass, however fast the machine has become since the epochs were timed: 25 at
        // most in all, of 28.
        let mut before = before;
        if kill % 4 == 3 {
            wait(Duration::from_secs(60), || fs::read(&state).ok() != before);
            before = fs::read(&state).ok();
        }
        let moment = Duration::from_secs_f64(rng.random_range(0.0..1.5 * seconds.max(0.2)));
        wait(moment, || fs::read(&state).ok() != before);
        assert_eq!(child.try_wait().unwrap(), None, "the run ended before kill {kill}: it needs more epochs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(start(dir.path(), &["fit", "--resume", "killed"]).wait().unwrap().success());
    for ((name, whole), (_, killed)) in
        common::outcome(&dir.path().join("whole"), FILES).iter().zip(common::outcome(&run, FILES))
    {
        assert!(*whole == killed, "{name} differs");
    }
    // Another time there is nothing to do.
    assert!(start(dir.path(), &["fit", "--resume", "killed"]).wait().unwrap().success());
    assert!(fs::read_to_string(dir.path().join("log")).unwrap().contains("killed has ended already"));
}
