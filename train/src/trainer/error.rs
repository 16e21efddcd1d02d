//! Why training cannot go on.

use crate::data::DataError;
use crate::eager::EagerError;
use crate::error::TorchError;
use crate::optimizer::StateError;

/// Why training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An operation of the network failed.
    #[error(transparent)]
    Eager(#[from] EagerError),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// Images cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// All images of an epoch were left out.
    #[error("none of the images can be decoded")]
    NoImages,
    /// The recipe does not fit the network.
    #[error("{0}")]
    Recipe(String),
    /// A snapshot is of another run.
    #[error(transparent)]
    State(#[from] StateError),
    /// The loss of the validation images became infinite or not a number.
    #[error(
        "the validation loss is {loss} after epoch {epoch}: lower the learning rate, or set clip_norm in the recipe"
    )]
    Validation {
        /// Counted from 1.
        epoch: usize,
        /// The loss.
        loss: f64,
    },
    /// The loss became infinite or not a number.
    #[error(
        "the loss is {loss} in epoch {epoch}, step {step} (phase {phase:?}), on {images}: lower the learning rate, \
         or set clip_norm in the recipe"
    )]
    Diverged {
        /// Counted from 1.
        epoch: usize,
        /// Counted from 1 in the epoch.
        step: usize,
        /// Name of the phase.
        phase: String,
        /// The loss.
        loss: f64,
        /// Those of the batch.
        images: String,
    },
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
