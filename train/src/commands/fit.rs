//! `train fit`: from a folder of pictures to a run folder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use infer::preprocess::Preprocessor;
use models::card::{IMAGENET_MIN_SIZE, Preprocessing};
use models::layers::Attention;
use models::resnet::{Architecture, ResNet18, Stem};
use models::shapes;
use tch::Device;
use train::checkpoint;
use train::data::Sample;
use train::data::batches::Batches;
use train::data::folder::ImageFolder;
use train::data::pictures::PictureSet;
use train::device::{self, CudaLibrary};
use train::params::Params;
use train::pretrained::{self, StemInit};
use train::recipe::{Phase, Recipe};
use train::run::{RunConfig, RunFolder, RunResult};
use train::trainer::{Plan, Trainer, evaluate};

use crate::args::{AttentionArg, FitArgs};
use crate::display;
use crate::interrupt::{Interrupt, Interrupted};

/// Runs the command.
pub fn run(args: &FitArgs) -> Result<()> {
    // First of all: libtorch looks for CUDA once.
    let cuda = CudaLibrary::open(args.device);
    let device = cuda.resolve(args.device)?;
    if let Some(warning) = cuda.fell_back(args.device) {
        eprintln!("warning: {warning}");
    }
    let interrupt = Interrupt::listen()?;
    ensure!(
        args.data != Path::new("cifar10") || args.data.is_dir(),
        "--data cifar10 cannot be downloaded yet: give a folder of class folders"
    );
    let recipe = recipe(args)?;
    let folder = ImageFolder::scan(&args.data)?;
    let config = config(args, recipe, &folder, device)?;
    let out = args.out.clone().unwrap_or_else(|| default_out(&config));
    RunFolder::check_free(&out)?;
    let network = ResNet18::new(&config.architecture)?;
    let side = config.preprocessing.crop as usize;
    let described = shapes::describe(&network, &[1, 3, side, side])?.params;
    let params = Params::initialise(&described, config.seed, device)?;
    let new = start_from(&params, config.pretrained.as_deref())?;

    let preprocessor = Preprocessor::new(&config.preprocessing);
    let sets = Sets::load(folder, &config, &preprocessor, &interrupt)?;
    let run = RunFolder::create(&out, &config)?;
    announce(&config, &sets, &out);

    let session = Session { config: &config, network: &network, params: &params, sets: &sets, run: &run };
    session.train(&preprocessor, device, &new, &interrupt)?;
    say!("next: train export {}", out.display());
    Ok(())
}

fn recipe(args: &FitArgs) -> Result<Recipe> {
    let default = if args.pretrained == "none" { "from-scratch" } else { "three-phase" };
    let mut recipe = Recipe::load(args.recipe.as_deref().unwrap_or(default))?;
    if let Some(epochs) = args.epochs {
        recipe = recipe.scaled_to(epochs as usize);
    }
    if let Some(batch_size) = args.batch_size {
        recipe.batch_size = batch_size as usize;
    }
    Ok(recipe)
}

fn config(args: &FitArgs, recipe: Recipe, folder: &ImageFolder, device: Device) -> Result<RunConfig> {
    let size = match args.image_size {
        Some(size) => size,
        None => natural_size(&folder.train[0].path)?,
    };
    let attention = match args.attention {
        AttentionArg::Cbam => Some(Attention { ratio: args.attention_ratio, kernel: args.attention_kernel }),
        AttentionArg::None => None,
    };
    let stem = args.stem.map_or_else(|| Stem::for_size(size), Into::into);
    Ok(RunConfig {
        version: env!("CARGO_PKG_VERSION").into(),
        data: args.data.canonicalize().with_context(|| format!("cannot read {}", args.data.display()))?,
        limit: args.limit.map(|limit| limit as usize),
        seed: args.seed,
        device: device::name(device),
        pretrained: pretrained_file(args)?,
        labels: folder.classes.clone(),
        preprocessing: Preprocessing::for_size(size),
        architecture: Architecture { classes: folder.classes.len(), stem, attention },
        recipe,
    })
}

/// The weights to start from, wherever the run is repeated from.
fn pretrained_file(args: &FitArgs) -> Result<Option<PathBuf>> {
    let file = match args.pretrained.as_str() {
        "none" => return Ok(None),
        "imagenet" => {
            bail!("--pretrained imagenet cannot be downloaded yet: give a .safetensors or .pth file")
        }
        file => Path::new(file),
    };
    Ok(Some(file.canonicalize().with_context(|| format!("cannot read --pretrained {}", file.display()))?))
}

/// 32 for small pictures and 224 for photos, judged by the first one.
fn natural_size(first: &Path) -> Result<u32> {
    let (width, height) = infer::decode::file(first)?.dimensions();
    Ok(if width.min(height) < IMAGENET_MIN_SIZE { 32 } else { 224 })
}

/// Loads pretrained weights; returns the names of the parameters that are new.
fn start_from(params: &Params, file: Option<&Path>) -> Result<HashSet<String>> {
    let Some(file) = file else {
        say!("no pretrained weights: every layer is new and learns in every phase");
        return Ok(params.names().map(Into::into).collect());
    };
    let loaded = pretrained::load(params, &checkpoint::load(file)?, StemInit::default())
        .with_context(|| format!("--pretrained {}", file.display()))?;
    say!("pretrained weights: {} tensors loaded from {}", loaded.loaded.len(), file.display());
    let mut new: Vec<_> = loaded.new.iter().map(String::as_str).collect();
    new.sort_unstable();
    say!("  new: {}", if new.is_empty() { "none".into() } else { new.join(", ") });
    if !loaded.adapted.is_empty() {
        say!("  adapted: {}", loaded.adapted.join(", "));
    }
    if !loaded.ignored.is_empty() {
        say!("  ignored: {}", loaded.ignored.join(", "));
    }
    Ok(loaded.new)
}

fn default_out(config: &RunConfig) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    Path::new("runs").join(format!("{}-{now}", config.dataset()))
}

/// The pictures, decoded.
struct Sets {
    train: PictureSet,
    validation: PictureSet,
    test: Option<PictureSet>,
}

impl Sets {
    fn load(
        folder: ImageFolder,
        config: &RunConfig,
        preprocessor: &Preprocessor,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let load = |label: &str, samples: Vec<Sample>| -> Result<PictureSet> {
            let bar = display::bar(label, samples.len());
            let set = PictureSet::load(samples, preprocessor, || bar.inc(1));
            bar.finish_and_clear();
            ensure!(!interrupt.requested(), Interrupted);
            Ok(set?)
        };
        let (train, validation) = config.split(folder.train);
        ensure!(
            train.len() > 1 && !validation.is_empty(),
            "{} training and {} validation pictures are too few: add pictures, or raise --limit",
            train.len(),
            validation.len()
        );
        let test = folder.test.map(|test| config.limited(test));
        Ok(Self {
            train: load("reading train", train)?,
            validation: load("reading validation", validation)?,
            test: test.map(|test| load("reading test", test)).transpose()?,
        })
    }
}

fn announce(config: &RunConfig, sets: &Sets, out: &Path) {
    say!("network     {}", config.architecture);
    let size = config.preprocessing.crop;
    let test = sets.test.as_ref().map_or(0, PictureSet::len);
    say!(
        "pictures    {} train, {} validation, {test} test, at {size}x{size}",
        sets.train.len(),
        sets.validation.len()
    );
    say!(
        "recipe      {}, {} epochs, batch {}",
        config.recipe.name,
        config.recipe.epochs(),
        config.recipe.batch_size
    );
    say!("device      {}", config.device);
    say!("run folder  {}", out.display());
}

/// A run under way.
struct Session<'a> {
    config: &'a RunConfig,
    network: &'a ResNet18,
    params: &'a Params,
    sets: &'a Sets,
    run: &'a RunFolder,
}

impl Session<'_> {
    fn train(
        &self,
        preprocessor: &Preprocessor,
        device: Device,
        new: &HashSet<String>,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let Self { config, network, params, sets, run } = *self;
        let recipe = &config.recipe;
        let batches = |set| Batches { set, preprocessor, device };
        let training = [batches(&sets.train), batches(&sets.validation)];
        let mut trainer = Trainer::new(network, params, recipe, training, new, config.seed);
        let mut best = Best::default();
        for epoch in 0..recipe.epochs() {
            if let Some((phase, plan)) = trainer.enter(epoch)? {
                say!("{}", phase_line(phase, plan));
            }
            let bar = display::bar(&format!("epoch {}/{}", epoch + 1, recipe.epochs()), sets.train.len());
            let metrics = trainer.epoch(epoch, |progress| {
                display::show(&bar, &progress);
                !interrupt.requested()
            })?;
            bar.finish_and_clear();
            let weights = params.to_weights()?;
            run.save_last(&weights)?;
            let Some(metrics) = metrics else {
                say!("interrupted in epoch {}: weights saved in {}", epoch + 1, run.path("last").display());
                match best.epoch {
                    0 => say!("next: train export takes these"),
                    best => say!("next: train export takes those of epoch {best}, the best so far"),
                }
                return Err(Interrupted.into());
            };
            // Best first: a kill in between loses a line rather than the weights it speaks of.
            let improved = best.improves(metrics.epoch, metrics.validation_accuracy, metrics.validation_loss);
            if improved {
                run.save_best(&weights)?;
            }
            run.record(&metrics)?;
            say!("{}", display::epoch_line(&metrics, recipe.epochs(), improved));
        }
        self.finish(&best, batches)
    }

    /// The test set is looked at once, with the best weights.
    fn finish<'a>(&'a self, best: &Best, batches: impl Fn(&'a PictureSet) -> Batches<'a>) -> Result<()> {
        let (weights, _) = self.run.weights()?;
        for (name, values) in &weights {
            self.params.assign(name, values)?;
        }
        let mut result = RunResult {
            epochs: self.config.recipe.epochs(),
            best_epoch: best.epoch,
            validation_accuracy: best.accuracy,
            test_accuracy: None,
            train_images: self.sets.train.len(),
        };
        say!("best epoch {} (*), validation accuracy {:.2} %", best.epoch, 100.0 * best.accuracy);
        if let Some(test) = &self.sets.test {
            let evaluation = evaluate(self.network, self.params, batches(test))?;
            self.run.write_predictions(test, &evaluation.predictions, &self.config.labels)?;
            say!("test accuracy {:.2} % of {} pictures", 100.0 * evaluation.accuracy, test.len());
            result.test_accuracy = Some(evaluation.accuracy);
        }
        self.run.finish(&result)?;
        Ok(())
    }
}

fn phase_line(phase: &Phase, plan: &Plan) -> String {
    let statistics = match plan.frozen_norms.len() {
        0 => String::new(),
        norms => format!(", statistics of {norms} batch norms stand still"),
    };
    format!(
        "phase {:?}: {} epoch{} at {:.0e}, {} parameters learn, {} frozen{statistics}",
        phase.name,
        phase.epochs,
        if phase.epochs == 1 { "" } else { "s" },
        phase.learning_rate,
        plan.trained.len(),
        plan.frozen.len()
    )
}

/// The best epoch so far: by accuracy, then by loss.
#[derive(Default)]
struct Best {
    epoch: usize,
    accuracy: f64,
    loss: f64,
}

impl Best {
    fn improves(&mut self, epoch: usize, accuracy: f64, loss: f64) -> bool {
        let better =
            self.epoch == 0 || accuracy > self.accuracy || (accuracy == self.accuracy && loss < self.loss);
        if better {
            *self = Self { epoch, accuracy, loss };
        }
        better
    }
}
