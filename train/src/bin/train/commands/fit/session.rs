//! A run under way: epochs, what is saved after each, and its end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_models::resnet::ResNet18;
use ferronnx_train::data::Sample;
use ferronnx_train::data::batches::Loader;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::images::{ImageSet, Loading};
use ferronnx_train::params::Params;
use ferronnx_train::run::{RunConfig, RunFolder, RunResult};
use ferronnx_train::trainer::{Options, Position, Trainer, evaluate};
use tch::Device;

use super::show::Show;
use super::start::Start;
use crate::display;
use crate::interrupt::{Interrupt, Interrupted};

/// Longest time that a kill costs.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// The images.
pub struct Sets {
    train: ImageSet,
    validation: ImageSet,
    test: Option<ImageSet>,
}

impl Sets {
    /// Splits the images of a folder as the run's configuration says, and reads them.
    pub fn load(
        folder: ImageFolder,
        config: &RunConfig,
        preprocessor: &Preprocessor,
        device: Device,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let load = |name: &str, samples: Vec<Sample>, originals: bool| -> Result<ImageSet> {
            let how = Loading { originals, skip_bad: config.skip_bad, ..Loading::new(device) };
            let bar = display::bar(&format!("reading {name}"), samples.len());
            let set = ImageSet::load(samples, preprocessor, how, || bar.inc(1));
            bar.finish_and_clear();
            ensure!(!interrupt.requested(), Interrupted);
            let set = set?;
            if set.skipped() > 0 {
                say!("{} {name} images left out: they cannot be decoded", set.skipped());
            }
            Ok(set)
        };
        let (train, validation) = config.split(folder.train);
        ensure!(
            train.len() > 1 && !validation.is_empty(),
            "{} training and {} validation images are too few: add images, or raise --limit",
            train.len(),
            validation.len()
        );
        let test = folder.test.map(|test| config.limited(test));
        Ok(Self {
            train: load("train", train, config.recipe.augment.needs_originals(preprocessor.size()))?,
            validation: load("validation", validation, false)?,
            test: test.map(|test| load("test", test, false)).transpose()?,
        })
    }
}

/// A run under way.
pub struct Session<'a> {
    /// What it is.
    pub config: &'a RunConfig,
    /// The network.
    pub network: &'a ResNet18,
    /// Its parameters.
    pub params: &'a Params,
    /// The images.
    pub sets: &'a Sets,
    /// Where it is kept.
    pub run: &'a RunFolder,
}

impl Session<'_> {
    /// Says what will be done.
    pub fn announce(&self, out: &Path) {
        let Self { config, sets, .. } = self;
        say!("network     {}", config.architecture);
        let size = config.preprocessing.crop;
        let test = sets.test.as_ref().map_or(0, ImageSet::len);
        say!(
            "images    {} train, {} validation, {test} test, at {size}x{size}",
            sets.train.len(),
            sets.validation.len()
        );
        let recipe = &config.recipe;
        say!("recipe      {}, {} epochs, batch {}", recipe.name, recipe.epochs(), recipe.batch_size);
        let amp = config.amp.map_or_else(String::new, |amp| format!(", mixed precision {amp}"));
        say!("device      {}{amp}", config.device);
        say!("run folder  {}", out.display());
    }

    /// Trains from `start` to the end of the recipe, and closes the run.
    pub fn train(
        &self,
        preprocessor: &Preprocessor,
        device: Device,
        start: Start,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let Self { config, network, params, sets, run } = *self;
        let loader = |set| Loader::new(set, preprocessor, device);
        let training = [loader(&sets.train), loader(&sets.validation)];
        let options = Options { seed: config.seed, amp: config.amp };
        let mut trainer = Trainer::new(network, params, &config.recipe, training, &start.new, options)?;
        if let Some(snapshot) = &start.snapshot {
            trainer.restore(snapshot)?;
        } else {
            run.write_plan(&start.plan)?;
        }
        let done = trainer.position().epoch;
        run.truncate_metrics(done)?;
        let mut show = Show::new(config, run, start.plan.phases, done)?;
        while self.epoch(&mut trainer, &mut show, interrupt)? {}
        self.finish(trainer.position(), &show, loader)
    }

    /// One epoch, and what is saved of it; false at the end of the recipe.
    fn epoch(
        &self,
        trainer: &mut Trainer<'_, ResNet18>,
        show: &mut Show<'_>,
        interrupt: &Interrupt,
    ) -> Result<bool> {
        let Self { config, run, sets, .. } = self;
        let epochs = config.recipe.epochs();
        let Some((phase, plan)) = trainer.enter()? else { return Ok(false) };
        if let Some(plan) = plan {
            display::phase(phase, &plan.record(&phase.name));
        }
        let number = trainer.position().epoch + 1;
        let bar = display::bar(&format!("epoch {number}/{epochs}"), sets.train.len());
        let saved = Instant::now();
        let epoch = trainer.epoch(|progress| {
            display::show(&bar, &progress);
            !interrupt.requested() && saved.elapsed() < SAVE_EVERY
        });
        bar.finish_and_clear();
        let Some(epoch) = epoch.with_context(|| self.last_good(trainer))? else {
            run.save_last(&trainer.snapshot()?)?;
            if interrupt.requested() {
                say!("interrupted in epoch {number}, everything is saved in {}", run.path("").display());
                say!("next: train fit --resume {}", run.path("").display());
                return Err(Interrupted.into());
            }
            return Ok(true);
        };
        // The state last: after a kill in between, the epoch is trained again and comes to the same.
        if epoch.improved {
            run.save_best(&trainer.validated().to_weights()?)?;
        }
        run.record(&epoch.metrics)?;
        show.epoch(&epoch.metrics, trainer.position().best.epoch)?;
        run.save_last(&trainer.snapshot()?)?;
        say!("{}", display::epoch_line(&epoch.metrics, epochs, epoch.improved));
        if epoch.skipped > 0 {
            say!("  {} images left out: they cannot be decoded", epoch.skipped);
        }
        if epoch.stopped_early {
            say!("  the phase ends here: no better validation loss lately");
        }
        Ok(true)
    }

    /// Where to go back to when something went wrong.
    fn last_good(&self, trainer: &Trainer<'_, ResNet18>) -> String {
        let last = self.run.path("last");
        match trainer.position().epoch {
            epoch if last.is_dir() => {
                format!("the last good checkpoint is {} (epoch {epoch})", last.display())
            }
            _ => "nothing is saved yet".into(),
        }
    }

    /// The test set is looked at once, with the best weights; the page shows the validation images where there is
    /// none.
    fn finish<'a>(
        &'a self,
        position: &Position,
        show: &Show<'_>,
        loader: impl Fn(&'a ImageSet) -> Loader<'a>,
    ) -> Result<()> {
        let Self { config, network, params, sets, run } = self;
        let (weights, _) = run.weights()?;
        params.assign_all(&weights)?;
        let best = position.best;
        let mut result = RunResult {
            epochs: position.epoch,
            best_epoch: best.epoch,
            validation_accuracy: best.accuracy,
            test_accuracy: None,
            train_images: sets.train.len(),
        };
        say!("best epoch {} (*), validation accuracy {:.2} %", best.epoch, 100.0 * best.accuracy);
        let (split, set) = sets.test.as_ref().map_or(("validation", &sets.validation), |test| ("test", test));
        let evaluation = evaluate(*network, params, loader(set))?;
        if sets.test.is_some() {
            run.write_predictions(set, &evaluation.predictions, config)?;
            let answered = evaluation.predictions.len();
            say!("test accuracy {:.2} % of {answered} images", 100.0 * evaluation.accuracy);
            result.test_accuracy = Some(evaluation.accuracy);
        }
        show.evaluation(split, set, &evaluation, best.epoch)?;
        run.finish(&result)?;
        say!("report      {}", run.path("report.html").display());
        Ok(())
    }
}
