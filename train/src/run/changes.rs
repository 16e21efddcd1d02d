//! Differences between the images of a run when it began and now.

use std::fmt;

use ferronnx_infer::escape;

/// Differences between the images of a run when it began and now; paths are below the data set's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Images that were not there.
    pub added: Vec<String>,
    /// Images that are no longer there.
    pub gone: Vec<String>,
    /// Images of another class, part or folder.
    pub moved: Vec<Moved>,
    /// Images of other content.
    pub changed: Vec<String>,
}

/// Image of another class, part or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// Path now.
    pub path: String,
    /// Difference, as `cat, was dog`; empty if only the folder is another.
    pub difference: String,
}

impl Moved {
    /// Describes a move; `from` and `to` are class and part.
    pub(super) fn new(from: [&str; 2], to: [&str; 2], path: &str) -> Self {
        let differing = (0..2).filter(|&place| from[place] != to[place]);
        let difference =
            |place: usize| format!("{}, was {}", escape::name(to[place]), escape::name(from[place]));
        Self { path: path.into(), difference: differing.map(difference).collect::<Vec<_>>().join("; ") }
    }
}

impl Changes {
    /// Tells whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Number of images named of each kind.
const NAMED: usize = 3;

/// Counts the images of a kind and names a few.
fn counted(names: &[String], kind: &str) -> Option<String> {
    let named: Vec<_> = names.iter().take(NAMED).map(String::as_str).collect();
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| format!("{} {kind} ({}{more})", names.len(), named.join(", ")))
}

/// `2 gone (a.png, b.png), 1 in another class or part (c.png: cat, was dog)`
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |paths: &[String]| -> Vec<String> {
            paths.iter().map(|path| escape::path(path).to_string()).collect()
        };
        let moved = |of: &Moved| match &*of.difference {
            "" => escape::path(&of.path).to_string(),
            difference => format!("{}: {difference}", escape::path(&of.path)),
        };
        let (elsewhere, labelled): (Vec<_>, Vec<_>) =
            self.moved.iter().partition(|moved| moved.difference.is_empty());
        let [elsewhere, labelled] =
            [elsewhere, labelled].map(|list| list.into_iter().map(moved).collect::<Vec<_>>());
        let kinds = [
            counted(&escaped(&self.gone), "gone"),
            counted(&escaped(&self.added), "added"),
            counted(&labelled, "in another class or part"),
            counted(&elsewhere, "in another folder"),
            counted(&escaped(&self.changed), "with other content"),
        ];
        f.write_str(&kinds.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_and_a_few_are_named() {
        let paths = |count: usize| (0..count).map(|index| format!("{index}.png")).collect::<Vec<_>>();
        let moved = vec![
            Moved::new(["dog", "train"], ["cat", "train"], "cat/1\n.png"),
            Moved::new(["dog", "train"], ["dog", "train"], "dog/deep/2.png"),
        ];
        let changes = Changes { gone: paths(5), added: paths(1), moved, changed: paths(2) };
        let text = "5 gone (0.png, 1.png, 2.png and 2 more), 1 added (0.png), 1 in another class or part \
                    (cat/1\\n.png: cat, was dog), 1 in another folder (dog/deep/2.png), 2 with other content \
                    (0.png, 1.png)";
        assert_eq!(changes.to_string(), text);
        assert!(!changes.is_empty() && Changes::default().is_empty());
    }
}
