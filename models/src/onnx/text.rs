//! Optional texts of the format, and its lists of keys and values.

use std::fmt;
use std::ops::Deref;

use super::proto::StringStringEntryProto;

/// Text that the format may leave out: one that is absent reads as the empty text.
///
/// It is written as it was read, so that files do not change where nothing in them did.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(pub(super) Option<String>);

impl Text {
    /// The text; empty where it is absent.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Some(text.into()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Keys and values of texts, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(pub(super) Vec<StringStringEntryProto>);

impl Metadata {
    /// The value of `key`; of several the last, which is the one that ONNX Runtime takes.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().rev().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push(StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) });
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|entry| (entry.key(), entry.value()))
    }

    /// True if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut metadata = Self::default();
        entries.into_iter().for_each(|(key, value)| metadata.push(key, value));
        metadata
    }
}
