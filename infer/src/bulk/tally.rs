//! Numbers of results, with a digest of the names that they are of.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::shard::Key;

/// Results of a part: their numbers, and a digest of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) failed: u64,
    /// Failures of reading that may pass, as of a network.
    pub(super) unread: u64,
    /// Sum of the keys of the names, in hexadecimal.
    names: NamesDigest,
}

/// Digest of a multiset of names: the sum of their keys, modulo 2^128.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct NamesDigest(u128);

impl Serialize for NamesDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for NamesDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Tally {
    /// Counts a row.
    pub(super) fn add(&mut self, name: &str, failed: bool) {
        self.rows += 1;
        self.failed += u64::from(failed);
        self.names.0 = self.names.0.wrapping_add(Key::of(name).0);
    }

    /// Tells whether both have the same rows, by their names.
    pub(super) fn has_rows_of(&self, other: &Self) -> bool {
        (self.rows, self.failed, self.names) == (other.rows, other.failed, other.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_knows_its_rows_in_any_order() {
        let tally = |rows: &[(&str, bool)]| {
            let mut tally = Tally::default();
            rows.iter().for_each(|(name, failed)| tally.add(name, *failed));
            tally
        };
        let one = tally(&[("a", false), ("b", true)]);
        assert!(one.has_rows_of(&tally(&[("b", true), ("a", false)])));
        for other in [&[("a", false)][..], &[("a", false), ("a", true)], &[("a", false), ("b", false)]] {
            assert!(!one.has_rows_of(&tally(other)));
        }
        let read: Tally = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        assert_eq!(read, one);
    }
}
