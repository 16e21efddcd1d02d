//! Search for the tensors of a network in a checkpoint, by their names, under any prefix.
//!
//! Every tensor's name has the keys in the file that lead to it. So nested state dicts (`{"model": ...}`) and wrappers of
//! modules (`module.`, `_orig_mod.`, the attribute of a LightningModule) are the same thing: a prefix.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::error::FormatError;
use super::passed_over::PassedOver;
use super::stored::{Container, StoredTensor};
use super::{Checkpoint, moving_average};
use crate::{Roles, Weights};

/// Limit for the number of candidates: names under other prefixes are few, or the file is made to keep programs busy.
const MAX_CANDIDATES: usize = 32;

/// Names to look for: those of a network, and how other programs spell them.
#[derive(Debug, Clone)]
pub struct Sought {
    /// The network's name for each spelling.
    own: HashMap<String, String>,
    /// Prefix that the network's names have and published ones lack.
    prefix: String,
}

impl Sought {
    /// Looks for the parameters `names` of a network with these roles, which say how published files spell them.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>, roles: &Roles) -> Self {
        let spellings = names.into_iter().flat_map(|name| {
            roles.spellings(name).into_iter().map(move |spelling| (spelling, name.to_owned()))
        });
        Self { own: spellings.collect(), prefix: roles.checkpoint_prefix().to_owned() }
    }
}

/// Tensors of a checkpoint that have the names of a network under a common prefix.
#[derive(Debug, Clone)]
pub struct Candidate<'c> {
    checkpoint: &'c Checkpoint<'c>,
    prefix: String,
    own_prefix: String,
    /// Places of tensors, by the network's names.
    found: IndexMap<String, usize>,
    /// Names of the network that two tensors have, with both.
    twice: Vec<(String, [usize; 2])>,
}

impl Checkpoint<'_> {
    /// Finds the tensors of a network under every prefix, the best candidate first.
    ///
    /// More tensors are better. Of as many, those of a moving average (`ema`, `swa`, `averaged`) are better than others,
    /// as in timm, and then the first in the file. No tensor belongs to two candidates.
    pub fn candidates<'c>(&'c self, sought: &Sought) -> Vec<Candidate<'c>> {
        let mut found: IndexMap<&str, Candidate<'c>> = IndexMap::new();
        for (place, tensor) in self.tensors().iter().enumerate() {
            let name = tensor.name.as_str();
            let starts = std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
            for (prefix, rest) in starts.map(|start| name.split_at(start)) {
                let Some(own) = sought.own.get(rest) else { continue };
                let candidate = found.entry(prefix).or_insert_with(|| Candidate {
                    checkpoint: self,
                    prefix: prefix.to_owned(),
                    own_prefix: sought.prefix.clone(),
                    found: IndexMap::new(),
                    twice: Vec::new(),
                });
                if let Some(other) = candidate.found.insert(own.clone(), place) {
                    candidate.twice.push((own.clone(), [other, place]));
                }
            }
        }
        let mut candidates: Vec<_> = found.into_values().collect();
        // Stable, so that the first of equals stays first.
        candidates.sort_by_key(|candidate| {
            std::cmp::Reverse((candidate.found.len(), moving_average(&candidate.prefix)))
        });
        // A part of a better candidate is none: without its attention, a network would be another one.
        let mut used = HashSet::new();
        candidates.retain(|candidate| {
            let own = candidate.found.values().all(|place| !used.contains(place));
            used.extend(candidate.found.values().copied());
            own
        });
        candidates.truncate(MAX_CANDIDATES);
        candidates
    }
}

impl<'c> Candidate<'c> {
    /// Prefix of all names in the file, with the keys that lead to them; empty or with its last dot.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Tensor of the file for the network's parameter `name`.
    pub fn get(&self, name: &str) -> Option<&'c StoredTensor> {
        self.found.get(name).map(|&place| &self.checkpoint.tensors()[place])
    }

    /// All tensors of the file.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &'c StoredTensor> {
        self.checkpoint.tensors().iter()
    }

    /// Names of the network's parameters that were found.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.found.keys().map(String::as_str)
    }

    /// Parameters that two tensors of the file are, in different spellings, with the names of both.
    pub fn twice(&self) -> impl Iterator<Item = (&str, [&'c str; 2])> {
        let name = |place: usize| self.checkpoint.tensors()[place].name.as_str();
        self.twice.iter().map(move |(own, places)| (own.as_str(), places.map(name)))
    }

    /// Reads the values of the parameters that `wanted` names, as 32-bit floats.
    ///
    /// # Errors
    /// [`FormatError::Tensor`] when one of them cannot be a weight.
    pub fn weights<'n>(&self, wanted: impl IntoIterator<Item = &'n str>) -> Result<Weights, FormatError> {
        let tensor = |name: &str| self.get(name).map(|tensor| (name.to_owned(), tensor));
        self.checkpoint.weights(wanted.into_iter().filter_map(tensor))
    }

    /// Tensors of the file that were not found to be the network's.
    pub fn unused(&self) -> Vec<&'c StoredTensor> {
        let used: HashSet<usize> = self.found.values().copied().collect();
        let tensors = self.checkpoint.tensors().iter().enumerate();
        tensors.filter(|(place, _)| !used.contains(place)).map(|(_, tensor)| tensor).collect()
    }

    /// Unused tensors inside modules of the network, such as a third block of a stage that has two.
    ///
    /// A file that has some belongs to another network, even if it has all tensors of this one.
    pub fn inside(&self) -> Vec<&'c StoredTensor> {
        let modules: HashSet<&str> = self.used().filter_map(|tensor| self.module(tensor)).collect();
        let inside = |tensor: &&StoredTensor| self.module(tensor).is_some_and(|name| modules.contains(name));
        self.layers().filter(inside).collect()
    }

    /// Unused tensors of the same state dict, in modules that the network does not have.
    pub fn beside(&self) -> Vec<&'c StoredTensor> {
        let containers: HashSet<Container> = self.used().map(|tensor| tensor.container).collect();
        let inside: HashSet<&str> = self.inside().iter().map(|tensor| tensor.name.as_str()).collect();
        let beside = |tensor: &&StoredTensor| {
            containers.contains(&tensor.container) && !inside.contains(tensor.name.as_str())
        };
        self.layers().filter(beside).collect()
    }

    /// Everything in the file that was not used, summed up.
    pub fn passed_over(&self) -> PassedOver {
        PassedOver::new(&self.unused())
    }

    fn used(&self) -> impl Iterator<Item = &'c StoredTensor> {
        self.found.values().map(|&place| &self.checkpoint.tensors()[place])
    }

    /// Unused tensors under the prefix that a network could compute with.
    fn layers(&self) -> impl Iterator<Item = &'c StoredTensor> {
        let unused = self.unused().into_iter();
        unused.filter(|tensor| {
            tensor.name.starts_with(&self.prefix) && tensor.may_be_weight() && !tensor.is_counter()
        })
    }

    /// Outermost module that a tensor belongs to; `None` for one that is not under the prefix, or in no module.
    fn module<'t>(&self, tensor: &'t StoredTensor) -> Option<&'t str> {
        let name = tensor.name.strip_prefix(&self.prefix)?;
        let name = name.strip_prefix(&self.own_prefix).unwrap_or(name);
        name.split_once('.').map(|(module, _)| module)
    }
}
