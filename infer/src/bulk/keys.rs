//! Sets of names in 16 bytes a name.

use std::collections::BTreeMap;

use super::shard::Key;

/// Bits of an entry that hold a stamp; the others hold the beginning of the name's digest.
const STAMP: u128 = u32::MAX as u128;

/// Names, each with a stamp, as digests: two names are taken for one with a probability of 2^-96.
///
/// New entries are kept apart until there are many, then all are sorted together.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    sorted: Vec<u128>,
    recent: BTreeMap<u128, u32>,
}

impl KeySet {
    /// Adds a name, unless it is there.
    ///
    /// Returns the stamp that it has already.
    pub(super) fn insert(&mut self, key: Key, stamp: u32) -> Option<u32> {
        if let Some(known) = self.get(key) {
            return Some(known);
        }
        self.recent.insert(key.0 & !STAMP, stamp);
        if self.recent.len() > (self.sorted.len() / 16).max(1024) {
            self.sorted.extend(self.recent.iter().map(|(name, stamp)| name | u128::from(*stamp)));
            self.recent.clear();
            self.sorted.sort_unstable();
        }
        None
    }

    /// Stamp of a name, if it is there.
    pub(super) fn get(&self, key: Key) -> Option<u32> {
        let name = key.0 & !STAMP;
        let found = || {
            let place = self.sorted.partition_point(|&entry| entry < name);
            let entry = *self.sorted.get(place)?;
            (entry & !STAMP == name).then_some((entry & STAMP) as u32)
        };
        self.recent.get(&name).copied().or_else(found)
    }

    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.sorted.len() + self.recent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_first_stamp() {
        let mut keys = KeySet::default();
        let key = |index: u32| Key::of(&format!("photos/{index}.jpg"));
        for index in 0..50_000 {
            assert_eq!(keys.insert(key(index), index.wrapping_mul(0x9e37_79b9)), None);
        }
        for index in 0..50_000 {
            assert_eq!(keys.insert(key(index), 0), Some(index.wrapping_mul(0x9e37_79b9)));
        }
        assert_eq!((keys.len(), keys.get(key(50_000))), (50_000, None));
        assert!(keys.recent.len() < 4000);
    }
}
