//! Work of the ranks that the tests start.

use std::collections::HashSet;
use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ferronnx_infer::Preprocessor;
use ferronnx_models::card::Preprocessing;
use ferronnx_models::layers::{BatchNorm2d, Conv2d, Linear};
use ferronnx_models::{Module, Ops, Reduce, Weights, checkpoint, shapes};
use ferronnx_train::data::Sampling;
use ferronnx_train::data::augment::Crop;
use ferronnx_train::data::batches::Loader;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::images::{ImageSet, Loading};

use ferronnx_train::distributed::reducer::Reducer;
use ferronnx_train::distributed::{Group, Launch, Launcher, World};
use ferronnx_train::eager::Eager;
use ferronnx_train::error::chain;
use ferronnx_train::optimizer::Algorithm;
use ferronnx_train::params::Params;
use ferronnx_train::recipe::{FrozenBatchNorm, Recipe};
use ferronnx_train::run::{Observer, Outcome, Run, RunConfig, RunError, RunFolder, Step};
use ferronnx_train::trainer::{Amp, Evaluation, Options, TrainError, Trainer, evaluate};
use tch::{Device, Kind, Tensor};

/// Variable with the task of a rank.
pub const TASK: &str = "DISTRIBUTED_TEST";

/// Two convolutions with batch norm, and a head.
pub struct Narrow;

impl Module for Narrow {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let mut x = ops.conv2d(x, &Conv2d { padding: 1, stride: 2, ..Conv2d::new("first.conv", 3, 6, 3) })?;
        x = ops.relu(&ops.batch_norm(&x, &BatchNorm2d::new("first.norm", 6))?)?;
        x = ops.conv2d(&x, &Conv2d { padding: 1, stride: 2, ..Conv2d::new("second.conv", 6, 8, 3) })?;
        x = ops.relu(&ops.batch_norm(&x, &BatchNorm2d::new("second.norm", 8))?)?;
        let [mean, max] = [Reduce::Mean, Reduce::Max].map(|how| ops.reduce(&x, how, &[2, 3], false));
        ops.linear(&ops.concat(&[&mean?, &max?], 1)?, &Linear::new("head", 16, 3))
    }
}

fn group() -> Arc<Group> {
    let number = |name| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let world = World { rank: number("RANK"), size: number("WORLD_SIZE"), local_rank: number("RANK") };
    let launch = Launch {
        world,
        address: "127.0.0.1".into(),
        port: number("MASTER_PORT") as u16,
        agent_store: false,
        restart: 0,
        by: Launcher::Torchrun,
    };
    Arc::new(Group::join(&launch, Duration::from_secs(60)).unwrap())
}

/// Does the task of a rank in the current folder, and writes there what it finds.
pub fn run(task: &str) {
    let (group, dir) = (group(), Path::new("."));
    let rank = group.world().rank;
    let write = |name: String, bytes: Vec<u8>| fs::write(dir.join(name), bytes).unwrap();
    match task.split_once(' ').unwrap_or((task, "")) {
        ("cases" | "short" | "skip" | "shards", _) => {
            let cases = match task {
                "cases" => Case::all(),
                "short" => Case::short(group.world().size > 1),
                "skip" => vec![Case::skipping()],
                _ => vec![Case::streamed()],
            };
            for case in cases {
                let found = case.train(dir, Some(&group));
                let name = |what: &str| format!("{}-{rank}.{what}", case.name);
                checkpoint::save(&found.weights, dir.join(name("weights"))).unwrap();
                checkpoint::save(&found.gradients, dir.join(name("gradients"))).unwrap();
                write(name("losses"), serde_json::to_vec(&found.losses).unwrap());
                write(name("skipped"), serde_json::to_vec(&found.skipped).unwrap());
            }
        }
        ("double", _) => {
            let own = [0..9, 9..16][rank].clone();
            write(format!("double-{rank}"), serde_json::to_vec(&descend(Some(&group), own)).unwrap());
        }
        ("diverge", _) => {
            let error = Case::diverging().try_train(dir, Some(&group)).err().unwrap();
            write(format!("diverge-{rank}"), chain(&error).into_bytes());
        }
        ("run", name) => {
            // One rank wants to stop, in the middle of an epoch; the other follows.
            let stops = name.ends_with("stopped") && rank == 1;
            let mut observer = Stops { after: stops.then_some(7), said: String::new() };
            let run = begun(dir, name).distributed(group);
            let outcome = run.unwrap().train(&mut observer).unwrap();
            assert_eq!(
                matches!(outcome, Outcome::Finished(_)),
                name.ends_with("whole") || finished(dir, name)
            );
            eprintln!("{}", observer.said);
        }
        _ => panic!("no task {task:?}"),
    }
}

fn finished(dir: &Path, name: &str) -> bool {
    RunFolder::open(dir.join(name)).unwrap().0.metrics().unwrap().len() == 4
}

/// Training of a small network, by one process or several.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub sync_bn: bool,
    amp: Option<Amp>,
    multi_label: bool,
    recipe: Recipe,
    images: usize,
    /// Folder of the images.
    data: &'static str,
}

/// Findings of a training.
#[derive(Debug)]
pub struct Found {
    pub weights: Weights,
    /// Gradients of the first update, from the momentum of SGD; empty for other optimizers.
    pub gradients: Weights,
    /// Training loss of each epoch.
    pub losses: Vec<f64>,
    /// Images that were left out in each epoch.
    pub skipped: Vec<usize>,
}

/// Recipe of `epochs` epochs in a phase that trains `patterns`, with `batch_size` images of all ranks in a step.
fn recipe(batch_size: usize, phases: &[(&str, usize, &[&str])], change: impl FnOnce(&mut Recipe)) -> Recipe {
    let mut recipe = Recipe::load("from-scratch").unwrap();
    let template = recipe.phases[0].clone();
    recipe.phases.clear();
    for (name, epochs, train) in phases {
        let mut phase = template.clone();
        (phase.name, phase.epochs, phase.learning_rate) = ((*name).into(), *epochs, 0.01);
        phase.train = train.iter().map(ToString::to_string).collect();
        recipe.phases.push(phase);
    }
    recipe.batch_size = batch_size;
    recipe.augment.crop_padding = 0.125;
    recipe.augment.horizontal_flip = 0.5;
    (recipe.optimizer.name, recipe.optimizer.momentum) = (Algorithm::Sgd, 0.9);
    change(&mut recipe);
    recipe.check().unwrap();
    recipe
}

impl Case {
    /// Cases that have to be those of one process, together with 64 images a step or an update.
    pub fn all() -> Vec<Self> {
        let all: &[&str] = &["*"];
        let phases: [(&str, usize, &[&str]); 3] =
            [("head", 3, &["head.*"]), ("second", 3, &["head.*", "second.*"]), ("all", 3, all)];
        let sgd = |recipe: &mut Recipe| recipe.frozen_bn = FrozenBatchNorm::Eval;
        let adam = |recipe: &mut Recipe| {
            (recipe.optimizer.name, recipe.phases[0].learning_rate) = (Algorithm::Adam, 1e-3);
        };
        let everything = |recipe: &mut Recipe| {
            (recipe.accumulate, recipe.ema, recipe.clip_norm) = (2, Some(0.9), Some(0.5));
            recipe.label_smoothing = 0.1;
        };
        let balanced = |recipe: &mut Recipe| recipe.sampling = Sampling::Balanced;
        let convolutions: &[&str] = &["*.conv.*", "head.*"];
        // 131 images leave three for the last step: one rank has none of them.
        vec![
            Self::new("sgd", 131, recipe(64, &[("all", 17, all)], |_| ())),
            Self {
                sync_bn: false,
                ..Self::new("frozen", 186, recipe(64, &[("all", 17, convolutions)], sgd))
            },
            Self::new("adam", 64, recipe(64, &[("all", 20, all)], adam)),
            Self::new("phases", 185, recipe(32, &phases, everything)),
            // 62, 62 and 7 images of the classes.
            Self::new("balanced", 131, recipe(64, &[("all", 5, all)], balanced)),
            Self { multi_label: true, ..Self::new("labels", 131, recipe(64, &[("all", 5, all)], |_| ())) },
        ]
    }

    /// Cases in mixed precision, whose rounding differs between one process and two ranks.
    pub fn short(sync_bn: bool) -> Vec<Self> {
        let case = |name, amp| Self {
            amp: Some(amp),
            sync_bn,
            ..Self::new(name, 131, recipe(64, &[("all", 5, &["*"])], |_| ()))
        };
        vec![case("bf16", Amp::Bf16), case("fp16", Amp::Fp16)]
    }

    /// The same case in float32.
    pub fn precise(self) -> Self {
        Self { amp: None, ..self }
    }

    /// Images are decoded in every epoch, because they are cropped from originals.
    pub fn skipping() -> Self {
        let change = |recipe: &mut Recipe| recipe.augment.crop = Crop::Resized;
        Self::new("skip", 186, recipe(16, &[("all", 2, &["*"])], change))
    }

    /// Images are read from shards in every epoch.
    pub fn streamed() -> Self {
        let change = |recipe: &mut Recipe| recipe.augment.crop = Crop::Resized;
        Self { data: "shards", ..Self::new("streamed", 185, recipe(64, &[("all", 6, &["*"])], change)) }
    }

    /// Weights become infinite in the first step.
    pub fn diverging() -> Self {
        let recipe = recipe(64, &[("first", 1, &["*"])], |recipe| recipe.phases[0].learning_rate = 1e38);
        Self { sync_bn: false, ..Self::new("diverge", 186, recipe) }
    }

    fn new(name: &'static str, images: usize, recipe: Recipe) -> Self {
        Self { name, sync_bn: true, amp: None, multi_label: false, recipe, images, data: "colours" }
    }

    /// Trains on the images in `dir`, with the other ranks of a group.
    pub fn train(&self, dir: &Path, group: Option<&Arc<Group>>) -> Found {
        self.try_train(dir, group).unwrap()
    }

    fn try_train(&self, dir: &Path, group: Option<&Arc<Group>>) -> Result<Found, TrainError> {
        // The number of threads changes the order of sums.
        tch::set_num_threads(1);
        let preprocessor = Preprocessor::new(&Preprocessing::for_size(8));
        let ImageFolder { train: mut samples, source, .. } = ImageFolder::scan(dir.join(self.data)).unwrap();
        samples.truncate(self.images);
        if self.multi_label {
            // One class, two or none.
            for (index, sample) in samples.iter_mut().enumerate() {
                let class = sample.labels[0];
                sample.labels = [vec![class], vec![class, (class + 1) % 3], Vec::new()][index % 3].clone();
            }
        }
        let originals = self.recipe.augment.needs_originals(8);
        let how = Loading { originals, skip_bad: true, window: 40, ..Loading::new(Device::Cpu) };
        let set = ImageSet::load_from(&source, samples, &preprocessor, how, || ()).unwrap();
        let described = shapes::describe(&Narrow, &[1, 3, 8, 8]).unwrap().params;
        let params = Params::initialise(&described, 3, Device::Cpu)?;
        let size = group.map_or(1, |group| group.world().size);
        let mut recipe = self.recipe.clone();
        recipe.batch_size /= size;
        let loader = Loader::new(&set, &preprocessor, Device::Cpu);
        let loader = if self.multi_label { loader.multi_label(3) } else { loader };
        let (new, options) = (HashSet::new(), Options { seed: 5, amp: self.amp, ..Options::default() });
        let mut trainer = Trainer::new(&Narrow, &params, &recipe, [loader; 2], &new, options)?;
        if let Some(group) = group {
            trainer = trainer.distributed(Arc::clone(group), self.sync_bn)?;
        }
        let stopped = trainer.epoch(|_| false)?;
        assert!(stopped.is_none(), "it stops after the first update");
        let gradients = trainer.snapshot()?.optimizer;
        let (mut losses, mut skipped) = (Vec::new(), Vec::new());
        while trainer.enter()?.is_some() {
            let epoch = trainer.epoch(|_| true)?.unwrap();
            losses.push(epoch.metrics.train_loss);
            skipped.push(epoch.skipped);
        }
        let is_sgd = recipe.optimizer.name == Algorithm::Sgd;
        let gradients = if is_sgd { gradients } else { Weights::new() };
        Ok(Found { weights: trainer.snapshot()?.weights, gradients, losses, skipped })
    }
}

/// Fifty steps of gradient descent in double on the images `own` of sixteen, with synchronised batch norm.
pub fn descend(group: Option<&Arc<Group>>, own: Range<i64>) -> Vec<Vec<f64>> {
    let described = shapes::describe(&Narrow, &[1, 3, 8, 8]).unwrap().params;
    let params = Params::initialise(&described, 3, Device::Cpu).unwrap();
    for (_, tensor) in params.all() {
        tensor.shallow_clone().set_data(&tensor.to_kind(Kind::Double));
    }
    let learning: Vec<Tensor> =
        params.trainable().map(|(_, tensor)| tensor.set_requires_grad(true)).collect();
    let learning: Vec<&Tensor> = learning.iter().collect();
    let reducer = group.map(|group| Reducer::new(Arc::clone(group), &learning).unwrap());
    let pixels = Tensor::arange(16 * 3 * 8 * 8, (Kind::Double, Device::Cpu)).view([16, 3, 8, 8]);
    let images = (pixels * 0.37).sin().narrow(0, own.start, own.end - own.start);
    let labels =
        Tensor::arange(16, (Kind::Int64, Device::Cpu)).remainder(3).narrow(0, own.start, own.end - own.start);
    let nothing = HashSet::new();
    for _ in 0..50 {
        let eager = Eager::train(&params, &nothing);
        let eager = match group {
            Some(group) => eager.synchronised(Arc::clone(group)),
            None => eager,
        };
        let loss = Narrow.forward(&eager, &images).unwrap().cross_entropy_for_logits(&labels);
        if let Some(reducer) = &reducer {
            reducer.begin();
        }
        (loss * ((own.end - own.start) as f64 / 16.0)).backward();
        if let Some(reducer) = &reducer {
            reducer.finish().unwrap();
        }
        let _guard = tch::no_grad_guard();
        for tensor in &learning {
            let _ = tensor.shallow_clone().f_sub_(&(tensor.grad() * 0.1)).unwrap();
            let _ = tensor.grad().zero_();
        }
    }
    params.all().map(|(_, tensor)| Vec::try_from(tensor.detach().view(-1)).unwrap()).collect()
}

/// Breaks off after a number of updates, and keeps what it is told.
struct Stops {
    after: Option<usize>,
    said: String,
}

impl Observer for Stops {
    fn note(&mut self, note: &str) -> Result<(), RunError> {
        self.said += note;
        self.said += "\n";
        Ok(())
    }

    fn step(&mut self, _: &Step) -> ControlFlow<()> {
        let Some(after) = &mut self.after else { return ControlFlow::Continue(()) };
        *after = after.saturating_sub(1);
        if *after == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Packs the images of `colours` in `dir` into tar archives of 50 at most, in their order, with their classes as folders.
pub fn pack(dir: &Path) {
    let found = ImageFolder::scan(dir.join("colours")).unwrap();
    fs::create_dir_all(dir.join("shards")).unwrap();
    for (part, samples) in [("train", found.train), ("test", found.test.unwrap())] {
        for (number, samples) in samples.chunks(50).enumerate() {
            let file = fs::File::create(dir.join(format!("shards/{part}-{number:03}.tar"))).unwrap();
            let mut archive = tar::Builder::new(file);
            for sample in samples {
                let class = sample.path.parent().unwrap();
                archive
                    .append_path_with_name(
                        &sample.path,
                        sample.path.strip_prefix(class.parent().unwrap()).unwrap(),
                    )
                    .unwrap();
            }
            archive.finish().unwrap();
        }
    }
}

/// Creates or resumes a run on the images in `dir`: on `streamed` and `packed` ones in shards, which may be of `parquet`.
pub fn begun(dir: &Path, name: &str) -> Run<Narrow> {
    let out: PathBuf = dir.join(name);
    if out.join("config.toml").exists() {
        let (folder, config) = RunFolder::open(out).unwrap();
        return Run::resume(folder, config, Narrow).unwrap();
    }
    let (streams, packed) = (name.starts_with("streamed"), name.starts_with("packed"));
    let data = match streams || packed {
        true if name.contains("parquet") => "parquet",
        true => "shards",
        false => "colours",
    };
    let data = ImageFolder::scan(fs::canonicalize(dir.join(data)).unwrap()).unwrap();
    let everything = |recipe: &mut Recipe| {
        (recipe.accumulate, recipe.ema) = (2, Some(0.9));
        recipe.augment.mixup = 0.2;
        if streams {
            recipe.augment.crop = Crop::Resized;
        }
    };
    let recipe = recipe(8, &[("all", 4, &["*"])], everything);
    let config = RunConfig { shuffle_window: 30, ..RunConfig::new(&data, recipe, 8) };
    Run::create(out, data, config, Narrow).unwrap()
}

/// Resumes a run in this process alone; returns the notes.
pub fn resume_alone(dir: &Path, name: &str) -> String {
    let mut observer = Stops { after: None, said: String::new() };
    let outcome = begun(dir, name).train(&mut observer).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    observer.said
}

/// Evaluates the best weights of a run on the test images.
pub fn evaluate_best(dir: &Path, name: &str) -> Evaluation {
    let preprocessor = Preprocessor::new(&Preprocessing::for_size(8));
    let samples = ImageFolder::scan(dir.join("colours")).unwrap().test.unwrap();
    let set = ImageSet::load(samples, &preprocessor, Loading::new(Device::Cpu), || ()).unwrap();
    let described = shapes::describe(&Narrow, &[1, 3, 8, 8]).unwrap().params;
    let params = Params::initialise(&described, 0, Device::Cpu).unwrap();
    params.assign_all(&RunFolder::open(dir.join(name)).unwrap().0.weights().unwrap().0).unwrap();
    evaluate(&Narrow, &params, Loader::new(&set, &preprocessor, Device::Cpu)).unwrap()
}
