//! Training runs: created or resumed, trained to their end, and kept in a folder.
//!
//! [`Run::train`] is the one loop over epochs. It goes on from the last saved state to the same bits, and tells an
//! [`Observer`] what happens; the report, TensorBoard's event files and a terminal are observers.
//!
//! | file of a run folder | content |
//! |---|---|
//! | `config.toml` | everything needed to repeat the run: [`RunConfig`] |
//! | `images.csv` | images with their parts, classes and digests, by which a changed data set is named |
//! | `plan.json` | tensors that were loaded, and the trained parameters of each phase: [`RunPlan`] |
//! | `metrics.jsonl` | an [`EpochMetrics`](crate::trainer::EpochMetrics) per line |
//! | `best.safetensors` | weights of the best epoch, by the recipe's [metric](crate::recipe::BestBy) |
//! | `last/` | state that the run resumes from: weights, optimizer, position |
//! | `result.json` | the [`RunResult`], once the run has ended |
//! | `predictions.csv` | prediction for every test image, by the best weights |
//! | `report.html` | curves, evaluation, phases and configuration as a page |
//! | `events.out.tfevents.*` | metrics for TensorBoard |

mod changes;
mod config;
mod edits;
mod epoch;
mod error;
mod export;
mod folder;
mod images;
mod manifest;
mod memory;
mod notes;
mod observer;
mod outcome;
mod records;
mod start;
mod state;
mod sweep;
mod together;

use std::path::Path;
use std::sync::Arc;

use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_models::{Module, shapes};

pub use self::changes::{Changes, Moved};
pub use self::config::{RunConfig, in_words};
use self::epoch::Session;
pub use self::error::{Edit, RunError};
pub use self::export::RunExportError;
pub use self::folder::RunFolder;
use self::images::Sets;
pub use self::images::{Split, Splits};
use self::manifest::Manifest;
pub use self::memory::MemoryEstimate;
pub use self::observer::{EachEpoch, Finished, Observer, Started, Step};
pub use self::outcome::EvaluatedLabels;
pub use self::records::{RunPlan, RunResult};
use self::start::Start;
use self::together::Together;
use crate::data::folder::ImageFolder;
use crate::device;
use crate::distributed::Group;
use crate::error::chain;
use crate::params::Params;
use crate::report::ReportWriter;
use crate::tensorboard::EventWriter;

/// A training run of the network `M`, with its folder.
///
/// ```no_run
/// # use ferronnx_models::{Module, Ops};
/// # fn train<M: Module>(network: impl FnOnce(usize) -> M) -> Result<(), Box<dyn std::error::Error>> {
/// use ferronnx_train::data::folder::ImageFolder;
/// use ferronnx_train::recipe::Recipe;
/// use ferronnx_train::run::{EachEpoch, Run, RunConfig};
///
/// let data = ImageFolder::scan("photos")?;
/// let config = RunConfig { seed: 7, ..RunConfig::new(&data, Recipe::load("from-scratch")?, 32) };
/// let network = network(data.classes.len());
/// let mut run = Run::create("runs/photos", data, config, network)?;
/// run.train(&mut EachEpoch::new(|epoch| println!("{}", epoch.metrics)))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Run<M> {
    config: RunConfig,
    folder: RunFolder,
    network: M,
    params: Params,
    start: Start,
    /// Images of a new run; those of a resumed one are listed when it trains.
    images: Option<(Splits, Manifest)>,
    /// Processes that train together; `None` for one alone.
    group: Option<Arc<Group>>,
}

/// End of [`Run::train`].
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Outcome {
    /// The recipe was trained to its end.
    Finished(RunResult),
    /// An observer stopped the run. All is saved in its folder, and training goes on from there.
    Interrupted {
        /// Epoch under way, counted from 1; `None` when no image had been trained on.
        epoch: Option<usize>,
    },
}

impl<M: Module> Run<M> {
    /// Prepares a new run in the folder `path`, which must be empty or absent; pretrained weights are loaded.
    ///
    /// The folder is written when training begins, once all images could be read.
    ///
    /// # Errors
    /// [`RunError`] when the folder is taken, the device cannot be used, the network does not fit its input, a pattern of
    /// the recipe matches no parameter, pretrained weights do not fit, or there are too few images.
    pub fn create(
        path: impl AsRef<Path>,
        data: ImageFolder,
        config: RunConfig,
        network: M,
    ) -> Result<Self, RunError> {
        RunFolder::check_free(&path)?;
        config.check()?;
        let manifest = Manifest::new(&data, &config);
        let splits = Splits::new(data, &config)?;
        let (config, params) = parameters(config, &network)?;
        let names: Vec<&str> = params.names().collect();
        config.recipe.check_names(&names, &network.roles()).map_err(|source| config.recipe_error(source))?;
        let start = Start::fresh(&config, &network, &params)?;
        let folder = RunFolder::at(&path);
        Ok(Self { config, folder, network, params, start, images: Some((splits, manifest)), group: None })
    }

    /// Resumes the run in a folder that [`RunFolder::open`] opened, with its configuration and the same network.
    ///
    /// Device, graphs and treatment of bad images may be changed in `config`.
    ///
    /// # Errors
    /// [`RunError`] when the device cannot be used, the network does not fit its input, or the folder is damaged.
    pub fn resume(folder: RunFolder, config: RunConfig, network: M) -> Result<Self, RunError> {
        let (config, params) = parameters(config, &network)?;
        let start = Start::resumed(&folder, &config, &network, &params)?;
        Ok(Self { config, folder, network, params, start, images: None, group: None })
    }

    /// Trains together with the other ranks of `group`, each of which created or resumed the same run.
    ///
    /// Each rank takes batches of the recipe's size, so that a step has as many images as all of them together; learning
    /// rates stay as they are. The first rank writes the run folder; other ranks need it to resume only. Observers of all
    /// ranks are told the same, and a run ends when one of them breaks off.
    ///
    /// # Errors
    /// [`RunError::Distributed`] when a rank is missing.
    pub fn distributed(mut self, group: Arc<Group>) -> Result<Self, RunError> {
        let world = group.world();
        self.config.ranks = world.size;
        self.folder.writes = world.is_first();
        // From here on the folder may have files.
        group.barrier()?;
        self.group = Some(group);
        Ok(self)
    }

    /// Trains to the end of the recipe, or until `observer` breaks off; evaluates the best weights on the test images.
    ///
    /// A run that has ended before returns its result at once.
    ///
    /// # Errors
    /// [`RunError`] when images cannot be read or are not those of the run, training diverges, the folder cannot be
    /// written, or an observer fails. The last saved state stays, and the run can be resumed from it.
    pub fn train(&mut self, observer: &mut impl Observer) -> Result<Outcome, RunError> {
        let outcome = self.train_alone_or_together(observer);
        if let (Err(error), Some(group)) = (&outcome, &self.group)
            && group.failure().is_none()
        {
            // The others would wait.
            group.fail(chain(error));
        }
        outcome
    }

    fn train_alone_or_together(&mut self, observer: &mut impl Observer) -> Result<Outcome, RunError> {
        if let Some(result) = self.folder.result()? {
            return Ok(Outcome::Finished(result));
        }
        let snapshot = match self.start.snapshot.take() {
            Some(snapshot) => Some(snapshot),
            None => self.folder.last()?,
        };
        let position = snapshot.as_ref().map(|snapshot| &snapshot.position);
        let Self { config, folder, network, params, start, group, .. } = self;
        let together = Together(group.as_ref());
        together.same("saved state: the run folder must be the same one", &position.cloned())?;
        observer.started(&Started { config, folder, plan: &start.plan, position })?;
        let (splits, manifest) = match self.images.take() {
            Some((splits, manifest)) => (splits, Some(manifest)),
            None => (Splits::find_and_tell(config, folder, &mut |images| observer.listing(images))?, None),
        };
        let held_out = splits.validation_digest();
        let mut edits = Vec::new();
        if let Some(position) = position {
            folder.check_saved(position)?;
            edits = edits::edits(folder, &start.plan.config, config, position)?;
            if ![&held_out, ""].contains(&start.plan.validation_digest.as_str()) {
                return Err(RunError::OtherSplit { run: folder.path("") });
            }
        }
        let preprocessor = Preprocessor::new(&config.preprocessing);
        let device = params.device();
        let sets = Sets::read(splits, config, &preprocessor, device, observer)?;
        let interrupted = together.any(sets.is_none())?;
        let Some(sets) = sets.filter(|_| !interrupted) else {
            return Ok(Outcome::Interrupted { epoch: None });
        };
        let counts = sets.counts().map(|(_, count)| count);
        together
            .same("number of images: the data set must be the same one, and readable everywhere", &counts)?;
        together.same("content of image files: the data set must be the same one", &sets.content_digest())?;
        observer.duplicates(&sets.duplicates(&config.labels))?;
        if folder.writes {
            folder.keep_images(&sets, config, manifest)?;
        }
        if snapshot.is_none() && folder.writes {
            start.plan.validation_digest = held_out;
            start.plan.config = folder.config_text()?;
            folder.write_plan(&start.plan)?;
        }
        let done = snapshot.as_ref().map_or(0, |snapshot| snapshot.position.epoch);
        folder.truncate_metrics(done)?;
        observer.ready(&sets.counts())?;
        let ranks = notes::ranks(config, position, &sets.train, params.buffers().next().is_some());
        for note in edits.into_iter().chain(ranks).chain(notes::training(config, &sets.train)?) {
            observer.note(&note)?;
        }
        let preprocessor = &preprocessor;
        let session = Session { config, folder, network, params, sets: &sets, preprocessor, together };
        if !folder.writes {
            return session.train(&start.new, snapshot, observer);
        }
        let mut events = EventWriter::create(folder.path(""), done + 1)?;
        let mut report = ReportWriter::new(config, folder, &start.plan.phases)?;
        session.train(&start.new, snapshot, &mut (&mut events, (&mut report, observer)))
    }

    /// Configuration of the run.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Network of the run.
    pub fn network(&self) -> &M {
        &self.network
    }

    /// Folder of the run.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }
}

/// Resolves the configured device, and creates the network's parameters on it with random initial values.
fn parameters(mut config: RunConfig, network: &impl Module) -> Result<(RunConfig, Params), RunError> {
    let device =
        device::find(config.device).map_err(|source| RunError::Device { device: config.device, source })?;
    device::prepare(device, config.deterministic)?;
    config.device = device.into();
    config.ranks = 1;
    let [channels, height, width] = Preprocessor::new(&config.preprocessing).input_shape();
    let described = shapes::describe(network, &[1, channels, height, width])?;
    let params = Params::initialise(&described.params, config.seed, device)?;
    Ok((config, params))
}
