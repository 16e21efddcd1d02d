//! Weights of a network as plain arrays.

use indexmap::IndexMap;
use ndarray::ArrayD;

/// Weights by the names of PyTorch's `state_dict`, in the order of the network.
pub type Weights = IndexMap<String, ArrayD<f32>>;
