//! Errors of runs and their folders.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use ferronnx_models::card::PreprocessingError;
use ferronnx_models::checkpoint::CheckpointError;
use ferronnx_models::shapes::ShapeError;

use super::{Changes, RunConfig, RunFolder};
use crate::data::{DataError, ScanError};
use crate::device::{DeviceError, DeviceRequest};
use crate::distributed::DistributedError;
use crate::error::TorchError;
use crate::pretrained::PretrainedError;
use crate::recipe::RecipeFault;
use crate::tensorboard::EventError;
use crate::trainer::TrainError;

/// Errors of a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder of a new run holds something already.
    #[error("{0} is not empty")]
    Exists(PathBuf),
    /// The folder holds no run.
    #[error("{0} is not a run folder: it has no config.toml")]
    NotARun(PathBuf),
    /// A file or folder cannot be read or written.
    #[error("{action} {path}")]
    Io {
        /// The attempt: `cannot read`, `cannot write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file of the folder does not hold what it should.
    #[error("{path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A record cannot be serialised.
    #[error("cannot encode {path}")]
    Encode {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Weights cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The ranks that train together lost each other.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// A rank does not find what the first one found.
    #[error("rank {rank} has another {subject} for all ranks")]
    OtherRank {
        /// The rank.
        rank: usize,
        /// Thing that is another, and what it should be.
        subject: &'static str,
    },
    /// The run was stopped before it saved any weights.
    #[error("{0} has no weights: the run was stopped before it saved any")]
    NoWeights(PathBuf),
    /// Images cannot be prepared as the configuration says.
    #[error("the preprocessing cannot be carried out")]
    Preprocessing(#[from] PreprocessingError),
    /// The recipe is out of range, or does not fit the network.
    #[error("the recipe {recipe:?} cannot be used")]
    Recipe {
        /// Name of the recipe.
        recipe: String,
        /// The reason.
        source: Box<RecipeFault>,
    },
    /// The device cannot be used.
    #[error("cannot use the device {device}")]
    Device {
        /// The device.
        device: DeviceRequest,
        /// The reason.
        source: DeviceError,
    },
    /// The network does not fit its input, or itself.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The network's parameters cannot be drawn.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// Pretrained weights do not fit the network.
    #[error("cannot start from {path}")]
    Pretrained {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<PretrainedError>,
    },
    /// The images cannot be listed.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The folder or list holds other images than when the run began.
    #[error(
        "the images in {data} are not those that {run} was begun with{}: bring them back, or start a new run",
        named(changes)
    )]
    OtherImages {
        /// The folder or list of images.
        data: PathBuf,
        /// The run.
        run: PathBuf,
        /// Differences; none are known for a run that began before they were noted.
        changes: Box<Changes>,
    },
    /// Other images would be held out for validation than when the run began.
    #[error(
        "{run} would be validated on other images than before: seed, limit or validation in its config.toml was changed: \
         change it back, or start a new run"
    )]
    OtherSplit {
        /// The run.
        run: PathBuf,
    },
    /// A setting was changed that the saved state depends on.
    #[error("{run} cannot go on with {edit}; change it back in config.toml, or start a new run")]
    OtherSetting {
        /// The run.
        run: PathBuf,
        /// The change.
        edit: Box<Edit>,
    },
    /// A file of the folder lacks what the saved state builds on.
    #[error("{path} {lacks}: copy the file back, or start a new run")]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// Description of what it lacks.
        lacks: String,
    },
    /// There are too few images to train and validate.
    #[error("{train} training and {validation} validation images are too few: add images")]
    TooFew {
        /// Training images.
        train: usize,
        /// Validation images.
        validation: usize,
    },
    /// Images cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Training failed; the last saved state is named.
    #[error("{}", last_good(last))]
    Train {
        /// Folder of the last saved state and its epoch.
        last: Option<(PathBuf, usize)>,
        /// The reason.
        source: Box<TrainError>,
    },
    /// The trainer cannot be made, or evaluation failed.
    #[error(transparent)]
    Evaluate(#[from] TrainError),
    /// TensorBoard's event files cannot be written.
    #[error(transparent)]
    Events(#[from] EventError),
    /// An observer failed.
    #[error("an observer of the run failed")]
    Observer(#[source] Box<dyn Error + Send + Sync>),
}

/// Setting of a run that was changed, and the reason why the saved state has no meaning with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Name of the setting in `config.toml`.
    pub setting: String,
    /// Value now.
    pub now: String,
    /// Value when the run began.
    pub before: String,
    /// Description of what depends on it.
    pub reason: &'static str,
}

/// `recipe.optimizer.name = adamw (when the run began: sgd): the saved state is of another algorithm`
impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, now, before, reason } = self;
        write!(f, "{setting} = {now} (when the run began: {before}): {reason}")
    }
}

impl RunError {
    pub(super) fn other_images(config: &RunConfig, run: &RunFolder, changes: Changes) -> Self {
        Self::OtherImages { data: config.data.clone(), run: run.path(""), changes: changes.into() }
    }
}

fn named(changes: &Changes) -> String {
    if changes.is_empty() { String::new() } else { format!(": {changes}") }
}

fn last_good(last: &Option<(PathBuf, usize)>) -> String {
    match last {
        Some((path, epoch)) => format!("the last good checkpoint is {} (epoch {epoch})", path.display()),
        None => "nothing is saved yet".into(),
    }
}
