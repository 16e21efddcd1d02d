//! Values of a network's parameters, outside any engine.

use indexmap::IndexMap;
use ndarray::ArrayD;

/// Parameters by name, as in PyTorch's `state_dict`.
pub type Weights = IndexMap<String, ArrayD<f32>>;
