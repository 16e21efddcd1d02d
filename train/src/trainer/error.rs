//! Errors of the training loop.

use crate::data::DataError;
use crate::eager::EagerError;
use crate::error::TorchError;
use crate::optimizer::StateError;
use crate::recipe::RecipeFault;

/// Errors of training and evaluation.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An operation of the network failed.
    #[error(transparent)]
    Eager(#[from] EagerError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// Images cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// All images of an epoch were left out.
    #[error("none of the images can be decoded")]
    NoImages,
    /// The recipe does not fit the network.
    #[error(transparent)]
    Recipe(#[from] RecipeFault),
    /// The recipe has no further epoch.
    #[error("the recipe has ended")]
    Ended,
    /// The snapshot has another number of learning rates than the recipe.
    #[error("the phase under way has other groups of learning rates now: restore the groups of its recipe")]
    Groups,
    /// The network does not give logits `[N, classes]`.
    #[error("the network's output is {0:?}, not [batch, classes]")]
    Output(Vec<usize>),
    /// The snapshot belongs to another run.
    #[error(transparent)]
    State(#[from] StateError),
    /// The validation loss became infinite or NaN.
    #[error(
        "the validation loss is {loss} after epoch {epoch}: lower the learning rate, or set clip_norm in the recipe"
    )]
    Validation {
        /// Epoch, counted from 1.
        epoch: usize,
        /// The loss.
        loss: f64,
    },
    /// The training loss became infinite or NaN.
    #[error(
        "the loss is {loss} in epoch {epoch}, step {step} (phase {phase:?}), on {images}: lower the learning rate, \
         or set clip_norm in the recipe"
    )]
    Diverged {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step in the epoch, counted from 1.
        step: usize,
        /// Name of the phase.
        phase: String,
        /// The loss.
        loss: f64,
        /// Names of the batch's images.
        images: String,
    },
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
