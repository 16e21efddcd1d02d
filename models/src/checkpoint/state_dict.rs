//! Choice of a state dict where no network is known.

use indexmap::IndexMap;

use super::error::FormatError;
use super::stored::{Container, StoredTensor};
use super::{Checkpoint, moving_average};
use crate::Weights;

/// Prefixes that PyTorch's wrappers put before every name: those of `DataParallel` and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

impl Checkpoint<'_> {
    /// Reads the state dict with the most tensors, see [`load`](super::load).
    ///
    /// # Errors
    /// [`FormatError::Tensor`] when one of its tensors cannot be a weight.
    pub fn state_dict(&self) -> Result<Weights, FormatError> {
        let mut containers: IndexMap<Container, Vec<&StoredTensor>> = IndexMap::new();
        for tensor in self.tensors() {
            containers.entry(tensor.container).or_default().push(tensor);
        }
        // Names in a state dict have dots; those in the state of an optimizer have none.
        let rank = |tensors: &[&StoredTensor]| {
            let dotted = tensors.iter().filter(|tensor| local(tensor).contains('.')).count();
            let prefix = tensors.first().map_or("", |tensor| &tensor.name[..tensor.container.prefix]);
            (dotted, tensors.len(), moving_average(prefix))
        };
        let best = containers.into_values().rev().max_by_key(|tensors| rank(tensors));
        let tensors = best.unwrap_or_default();
        let named = tensors.into_iter().filter(|tensor| !tensor.is_counter());
        self.weights(named.map(|tensor| (unwrapped(local(tensor)).to_owned(), tensor)))
    }
}

/// Name in the state dict, without the keys that lead to it.
fn local(tensor: &StoredTensor) -> &str {
    &tensor.name[tensor.container.prefix..]
}

/// Removes the prefixes of wrappers from a name.
fn unwrapped(mut name: &str) -> &str {
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = rest;
    }
    name
}
