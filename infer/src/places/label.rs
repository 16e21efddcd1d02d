//! Labels as data sets write them: names of classes, or their indices.

use std::fmt;

use crate::data_set::nfc;
use crate::escape;

/// Class of an image, by its name or by its index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Label {
    /// Name in the normal form NFC.
    Name(String),
    /// Position among the classes, counted from 0.
    Index(usize),
}

/// Reason why a label is none of a model's classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// No class has the name.
    #[error("no class is named `{}`", escape::name(.0))]
    Unknown(String),
    /// Several classes have the name.
    #[error("several classes are named `{}`", escape::name(.0))]
    Ambiguous(String),
    /// No class has the index.
    #[error("the index {index} is none of the {classes} classes")]
    OutOfRange {
        /// Index of the label.
        index: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A class is named as a number, and another one has this number as its index.
    #[error("{0} is the index of one class and the name of another")]
    IndexOrName(usize),
}

impl Label {
    /// Label by the name of a class.
    pub fn named(name: &str) -> Self {
        Self::Name(nfc(name))
    }

    /// Label in a text file: an index if it is a number, else a name; none if it is empty or has several lines.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.contains(['\n', '\r']) {
            return None;
        }
        Some(text.parse().map_or_else(|_| Self::named(text), Self::Index))
    }

    /// Finds the index of the label among `classes`; Unicode forms of a name are the same.
    ///
    /// # Errors
    /// [`LabelError`] when it is none of them, or when it is unclear which.
    pub fn index(&self, classes: &[String]) -> Result<usize, LabelError> {
        match self {
            Self::Name(name) => {
                let mut found = (0..classes.len()).filter(|&index| nfc(&classes[index]) == *name);
                let first = found.next().ok_or_else(|| LabelError::Unknown(name.clone()))?;
                if found.next().is_some() { Err(LabelError::Ambiguous(name.clone())) } else { Ok(first) }
            }
            &Self::Index(index) => {
                let number = index.to_string();
                match classes.iter().position(|class| class.trim() == number) {
                    Some(named) if named != index => Err(LabelError::IndexOrName(index)),
                    _ if index >= classes.len() => {
                        Err(LabelError::OutOfRange { index, classes: classes.len() })
                    }
                    _ => Ok(index),
                }
            }
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => escape::name(name).fmt(f),
            Self::Index(index) => index.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_indices_and_words_are_names() {
        assert_eq!(Label::parse(" 7\n"), Some(Label::Index(7)));
        assert_eq!(Label::parse("cat"), Some(Label::Name("cat".into())));
        assert_eq!(Label::parse("-1"), Some(Label::Name("-1".into())));
        assert_eq!((Label::parse(" \n"), Label::parse("a\nb")), (None, None));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        let classes = ["cat", "caf\u{e9}", "dog", "dog"].map(String::from);
        assert_eq!(Label::named("cafe\u{301}").index(&classes), Ok(1));
        assert_eq!(Label::Index(3).index(&classes), Ok(3));
        assert_eq!(Label::named("dog").index(&classes), Err(LabelError::Ambiguous("dog".into())));
        assert_eq!(Label::named("cow").index(&classes), Err(LabelError::Unknown("cow".into())));
        assert_eq!(Label::Index(4).index(&classes), Err(LabelError::OutOfRange { index: 4, classes: 4 }));
        let sorted = ["0", "1", "10", "2"].map(String::from);
        assert_eq!(Label::Index(1).index(&sorted), Ok(1));
        assert_eq!(Label::Index(2).index(&sorted), Err(LabelError::IndexOrName(2)));
    }
}
