//! Differences between a checkpoint and a network.

use super::error::TensorError;
use crate::networks::ArchitectureError;

/// Difference between a checkpoint and a network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// No tensor has a name of the network.
    #[error("none of its {0} tensors has a name of this network")]
    Nothing(usize),
    /// Few tensors have names of the network.
    #[error("only {found} of its {tensors} tensors have names of this network")]
    Few {
        /// Number of tensors with names of the network.
        found: usize,
        /// Number of tensors in the file.
        tensors: usize,
    },
    /// A tensor is of a kind that has no plain values.
    #[error("{name} {why}")]
    Tensor {
        /// Name in the file.
        name: String,
        /// The reason.
        why: TensorError,
    },
    /// The shapes are those of no configuration.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Parameters of the network are missing.
    #[error("{found} of the network's {all} tensors are there, {missing} is not")]
    Missing {
        /// First one that is missing.
        missing: String,
        /// Number of parameters that were found.
        found: usize,
        /// Number of parameters of the network.
        all: usize,
    },
    /// A tensor has another shape.
    #[error("{name} has shape {found:?}, this network needs {expected:?}")]
    Shape {
        /// Name in the file.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the network.
        expected: Vec<usize>,
    },
    /// Modules of the network have further tensors in the file.
    #[error("the network has no place for {tensors} of its tensors, such as {first}")]
    LeftOver {
        /// Name of the first one in the file.
        first: String,
        /// Number of such tensors.
        tensors: usize,
    },
    /// The state dict has layers beside those of the network.
    #[error(
        "{tensors} tensors of the same state dict, such as {first}, belong to layers that this network does not have"
    )]
    Beside {
        /// Name of the first one in the file.
        first: String,
        /// Number of such tensors.
        tensors: usize,
    },
    /// Two tensors are the same parameter in different spellings.
    #[error("it has two tensors, {0} and {1}, in the place of one")]
    Twice(String, String),
}
