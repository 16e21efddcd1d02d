//! Summary of what a checkpoint holds beside a network.

use std::fmt;

use indexmap::IndexMap;

use super::error::FormatError;
use super::stored::StoredTensor;

/// Tensors of a checkpoint that were not used, summed up by the key of the file that they lie under.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Groups in the order of the file.
    pub groups: Vec<Group>,
    /// Number of `num_batches_tracked` counters, which nothing computes with.
    pub counters: usize,
}

/// Unused tensors under one key of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The first key.
    pub key: String,
    /// Name of the first tensor.
    pub first: String,
    /// Number of tensors.
    pub tensors: usize,
}

impl PassedOver {
    /// Sums up tensors.
    pub fn new(tensors: &[&StoredTensor]) -> Self {
        let (counters, others): (Vec<&StoredTensor>, Vec<_>) =
            tensors.iter().partition(|tensor| tensor.is_counter());
        let mut groups: IndexMap<&str, Group> = IndexMap::new();
        for tensor in others {
            let key = tensor.name.split_once('.').map_or(tensor.name.as_str(), |(key, _)| key);
            let new = || Group {
                key: FormatError::quote(key),
                first: FormatError::quote(&tensor.name),
                tensors: 0,
            };
            groups.entry(key).or_insert_with(new).tensors += 1;
        }
        Self { groups: groups.into_values().collect(), counters: counters.len() }
    }

    /// First keys of all groups, as far as they fit on a line.
    pub fn keys(&self) -> String {
        const SHOWN: usize = 20;
        let keys = self.groups.iter().take(SHOWN).map(|group| group.key.as_str());
        keys.collect::<Vec<_>>().join(", ")
    }

    /// Tells whether nothing but counters was left.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// `optimizer (124 tensors, such as optimizer.state.0.exp_avg)`; counters are not mentioned.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Group { key, first, tensors }) in self.groups.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match tensors {
                1 => f.write_str(first)?,
                count => write!(f, "{key} ({count} tensors, such as {first})")?,
            }
        }
        Ok(())
    }
}
