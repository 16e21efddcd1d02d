//! Errors of the training loop.

use super::Amp;
use crate::data::DataError;
use crate::distributed::DistributedError;
use crate::distributed::reducer::ReduceError;
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
    /// The ranks that train together lost each other.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// A message of another rank cannot be read.
    #[error("a message between the ranks cannot be read")]
    Message(#[source] serde_json::Error),
    /// A step that other ranks recorded as a CUDA graph cannot be recorded here.
    #[error("the step of this rank cannot be recorded as a CUDA graph, as that of the others: {0}")]
    Unrecorded(String),
    /// Memory is full.
    #[error("a batch of {batch_size} images of {side}x{side} pixels in {precision} does not fit")]
    OutOfMemory {
        /// Images of a training step.
        batch_size: usize,
        /// Side of an image, in pixels.
        side: u32,
        /// Float type that was computed in: `float32`, or the short one of mixed precision.
        precision: String,
        /// The reason.
        source: TorchError,
    },
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

impl TrainError {
    /// libtorch's reason, if memory is full.
    fn full_memory(&self) -> Option<&TorchError> {
        let source = match self {
            Self::Torch(source)
            | Self::Eager(EagerError::Torch { source, .. })
            | Self::Data(DataError::Torch(source)) => source,
            _ => return None,
        };
        matches!(source, TorchError::OutOfMemory(_)).then_some(source)
    }

    /// Adds to full memory what it was needed for: `batch_size` images of `side` x `side` pixels, in a float type.
    pub(super) fn with_batch(self, batch_size: usize, side: u32, amp: Option<Amp>) -> Self {
        let Some(source) = self.full_memory().cloned() else { return self };
        let precision = amp.map_or_else(|| "float32".into(), |amp| amp.to_string());
        Self::OutOfMemory { batch_size, side, precision, source }
    }
}

impl From<ReduceError> for TrainError {
    fn from(error: ReduceError) -> Self {
        match error {
            ReduceError::Distributed(source) => Self::Distributed(source),
            ReduceError::Torch(source) => Self::Torch(source),
        }
    }
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
