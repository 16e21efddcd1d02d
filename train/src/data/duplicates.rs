//! Images of equal content, within a part of a data set and between its parts.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use ferronnx_infer::files::serialize_path;
use serde::Serialize;

use super::content::Digest;
use super::{Sample, Split};

/// Image of a group of duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copy {
    /// Path of the file.
    #[serde(flatten, serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Part of the data set.
    pub part: Split,
    /// Names of the image's classes.
    pub classes: Vec<String>,
}

impl Copy {
    /// Describes an image of a part; `classes` are the names of all classes.
    pub fn new(part: Split, sample: &Sample, classes: &[String]) -> Self {
        let mut classes: Vec<String> = sample.labels.iter().map(|&class| classes[class].clone()).collect();
        // A list may name the same classes in any order.
        classes.sort();
        Self { path: sample.path.clone(), part, classes }
    }
}

/// Groups of images with equal content, each of at least two images, in the order of their first images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Duplicates {
    /// The groups.
    pub groups: Vec<Vec<Copy>>,
}

impl Duplicates {
    /// Groups images by the digests of their content.
    pub fn find(images: impl IntoIterator<Item = (Digest, Copy)>) -> Self {
        let mut places: HashMap<Digest, usize> = HashMap::new();
        let mut groups: Vec<Vec<Copy>> = Vec::new();
        for (digest, copy) in images {
            let place = *places.entry(digest).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Vec::new());
            }
            groups[place].push(copy);
        }
        groups.retain(|group| group.len() > 1);
        Self { groups }
    }

    /// Images of a part that an earlier part has too, each beside the first of that: validation images that are among the
    /// training images, test images that are among the training or validation images.
    pub fn leaks(&self, part: Split) -> Vec<[&Copy; 2]> {
        let mut leaks = Vec::new();
        for group in &self.groups {
            let earlier = group.iter().filter(|copy| copy.part < part).min_by_key(|copy| copy.part);
            let Some(earlier) = earlier else { continue };
            leaks.extend(group.iter().filter(|copy| copy.part == part).map(|copy| [copy, earlier]));
        }
        leaks
    }

    /// Number of images of a part that are in this part already.
    pub fn repeated(&self, part: Split) -> usize {
        let inside = |group: &Vec<Copy>| group.iter().filter(|copy| copy.part == part).count();
        self.groups.iter().map(|group| inside(group).saturating_sub(1)).sum()
    }

    /// Groups whose images have different classes.
    pub fn contradictions(&self) -> impl Iterator<Item = &Vec<Copy>> {
        let classes =
            |group: &Vec<Copy>| group.iter().map(|copy| &copy.classes).collect::<BTreeSet<_>>().len();
        self.groups.iter().filter(move |group| classes(group) > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(content: u8, name: &str, part: Split, class: &str) -> (Digest, Copy) {
        let copy = Copy { path: name.into(), part, classes: vec![class.into()] };
        (Digest::of_file(&[content]), copy)
    }

    #[test]
    fn copies_are_counted_within_parts_and_between_them() {
        let found = Duplicates::find([
            image(1, "a", Split::Train, "cat"),
            image(2, "b", Split::Train, "cat"),
            image(1, "c", Split::Train, "dog"),
            image(3, "d", Split::Validation, "cat"),
            image(2, "e", Split::Test, "cat"),
            image(2, "f", Split::Test, "cat"),
            image(4, "g", Split::Test, "cat"),
        ]);
        assert_eq!(found.groups.len(), 2);
        let names = |pairs: Vec<[&Copy; 2]>| -> Vec<String> {
            pairs.iter().map(|pair| pair.map(|copy| copy.path.display().to_string()).join("=")).collect()
        };
        assert_eq!(names(found.leaks(Split::Test)), ["e=b", "f=b"]);
        assert!(found.leaks(Split::Validation).is_empty());
        assert_eq!(
            [Split::Train, Split::Validation, Split::Test].map(|part| found.repeated(part)),
            [1, 0, 1]
        );
        let contradictions: Vec<_> = found.contradictions().map(|group| &group[0].path).collect();
        assert_eq!(contradictions, [std::path::Path::new("a")]);
    }
}
