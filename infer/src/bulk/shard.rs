//! Shards: fixed parts of the inputs, chosen by their names.
//!
//! The shard of an input is the first eight bytes of the SHA-256 digest of its name, as a big-endian number, modulo the
//! number of shards. It depends on nothing else, so inputs that come or go move no other.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Largest number of shards.
pub const MAX_SHARDS: u64 = 1 << 20;

/// Key of a name: the first 16 bytes of its SHA-256 digest, as a big-endian number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u128);

impl Key {
    /// Computes the key of `name`.
    pub(crate) fn of(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(first))
    }

    /// First eight bytes of the digest.
    fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// One shard of many, `I/N`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    count: u64,
}

/// Text that is no [`Shard`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The text is not two numbers.
    #[error("`{0}` is not I/N, the number of a shard and the number of all shards, as 0/4")]
    Form(String),
    /// The number of shards is 0 or too large.
    #[error("{0} shards: from 1 to {MAX_SHARDS} are possible")]
    Count(u64),
    /// The shard's number is not below the number of shards.
    #[error("there is no shard {index} of {count}: shards are counted from 0 to {}", count - 1)]
    Index {
        /// Number of the shard.
        index: u64,
        /// Number of all shards.
        count: u64,
    },
}

impl Shard {
    /// The only shard: all inputs.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Creates shard `index` of `count`.
    ///
    /// # Errors
    /// [`ShardError::Count`] or [`ShardError::Index`] when there is no such shard.
    pub fn new(index: u64, count: u64) -> Result<Self, ShardError> {
        match (index, count) {
            (_, count) if !(1..=MAX_SHARDS).contains(&count) => Err(ShardError::Count(count)),
            (index, count) if index >= count => Err(ShardError::Index { index, count }),
            (index, count) => Ok(Self { index, count }),
        }
    }

    /// Number of the shard, counted from 0.
    pub fn index(self) -> u64 {
        self.index
    }

    /// Number of all shards.
    pub fn count(self) -> u64 {
        self.count
    }

    /// Tells whether the input called `name` is in this shard.
    pub fn contains(self, name: &str) -> bool {
        self.count == 1 || self.has(Key::of(name))
    }

    /// Tells whether an input is in this shard, by the key of its name.
    pub(crate) fn has(self, key: Key) -> bool {
        key.high() % self.count == self.index
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let parts = text.split_once('/').and_then(|(index, count)| Some((number(index)?, number(count)?)));
        let (index, count) = parts.ok_or_else(|| ShardError::Form(text.into()))?;
        Self::new(index, count)
    }
}

/// Parses a number of digits alone.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_name_is_fixed() {
        // int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 7, in Python.
        let expected =
            [("a.png", 1), ("photos/cat.jpg", 3), ("s3://bucket/x.tar", 3), ("\u{e9}.png", 5), ("", 1)];
        for (name, index) in expected {
            let holders: Vec<_> =
                (0..7).filter(|&index| Shard::new(index, 7).unwrap().contains(name)).collect();
            assert_eq!(holders, [index], "{name}");
        }
    }

    #[test]
    fn shards_are_of_similar_size() {
        let names: Vec<_> = (0..10_000).map(|index| format!("photos/{index:05}.jpg")).collect();
        for index in 0..8 {
            let shard = Shard::new(index, 8).unwrap();
            let held = names.iter().filter(|name| shard.contains(name)).count();
            assert!((1150..1350).contains(&held), "{shard}: {held}");
        }
    }

    #[test]
    fn shards_are_counted_from_zero() {
        assert_eq!("3/4".parse(), Ok(Shard { index: 3, count: 4 }));
        assert_eq!("0/1".parse(), Ok(Shard::WHOLE));
        assert_eq!("4/4".parse::<Shard>(), Err(ShardError::Index { index: 4, count: 4 }));
        assert_eq!("0/0".parse::<Shard>(), Err(ShardError::Count(0)));
        for wrong in [
            "",
            "3",
            "/",
            "1/",
            "-1/4",
            "+1/4",
            "1/4/8",
            "1 / 4",
            "one/4",
            "auto/4",
            "1/99999999999999999999",
        ] {
            assert_eq!(wrong.parse::<Shard>(), Err(ShardError::Form(wrong.into())));
        }
        let error = "4/4".parse::<Shard>().unwrap_err().to_string();
        assert_eq!(error, "there is no shard 4 of 4: shards are counted from 0 to 3");
    }
}
