//! Files and folders that a search left out, with the reasons.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::escape;

/// Reason why a file or folder was left out of a search for images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeftOutReason {
    /// Image in none of the class folders.
    NoClass,
    /// Folder beside the split folders, or a split folder that has no class folders.
    NoSplit,
    /// File that is not an image.
    NotAnImage,
    /// Link that leads nowhere, or in a circle.
    Link,
    /// File whose content cannot be read.
    Unreadable,
    /// Hidden file or folder.
    Hidden,
    /// File or folder of the system or of a tool, as `@eaDir`.
    System,
    /// Run folder of a training.
    Run,
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoClass => "image in no class folder",
            Self::NoSplit => "no split of class folders",
            Self::NotAnImage => "not an image",
            Self::Link => "link that leads nowhere or in a circle",
            Self::Unreadable => "cannot be read",
            Self::Hidden => "hidden",
            Self::System => "of the system or a tool",
            Self::Run => "run folder",
        })
    }
}

/// File or folder that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftOutEntry {
    /// Path of the file or folder.
    #[serde(flatten, serialize_with = "super::serialize_path")]
    pub path: PathBuf,
    /// Reason.
    pub reason: LeftOutReason,
}

/// Files and folders that a search left out; its text counts and names them on one line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LeftOut {
    entries: Vec<LeftOutEntry>,
}

impl LeftOut {
    /// Adds a file or folder.
    pub(crate) fn add(&mut self, path: impl Into<PathBuf>, reason: LeftOutReason) {
        self.entries.push(LeftOutEntry { path: path.into(), reason });
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    /// Files and folders, in the order of the search.
    pub fn entries(&self) -> &[LeftOutEntry] {
        &self.entries
    }

    /// Number of files and folders.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// `not an image: 3 (a/notes.txt, ...); hidden: 1 (.DS_Store)`, most important first.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons: Vec<_> = self.entries.iter().map(|entry| entry.reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        for (index, reason) in reasons.into_iter().enumerate() {
            let named = self.entries.iter().filter(|entry| entry.reason == reason);
            let named: Vec<_> = named.map(|entry| escape::path(&entry.path).to_string()).collect();
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{reason}: {} ({})", named.len(), crate::error::few(&named))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_and_named_by_reason() {
        let mut left_out = LeftOut::default();
        assert_eq!((left_out.to_string().as_str(), left_out.is_empty()), ("", true));
        left_out.add(".DS_Store", LeftOutReason::Hidden);
        for index in 0..7 {
            left_out.add(format!("{index}\n.txt"), LeftOutReason::NotAnImage);
        }
        let text = r"not an image: 7 (0\n.txt, 1\n.txt, 2\n.txt, 3\n.txt, 4\n.txt and 2 more); hidden: 1 (.DS_Store)";
        assert_eq!(left_out.to_string(), text);
        let json = serde_json::to_value(&left_out).unwrap();
        assert_eq!(json[0], serde_json::json!({"path": ".DS_Store", "reason": "hidden"}));
    }
}
