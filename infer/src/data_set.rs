//! Data sets: labelled images in folders or in a list, for training and for evaluation.
//!
//! ```no_run
//! use ferronnx_infer::data_set::DataSet;
//!
//! # fn main() -> Result<(), ferronnx_infer::data_set::DataSetError> {
//! let data = DataSet::open("photos")?; // or photos.csv
//! let (split, images) = data.held_out()?;
//! println!("{} images of {split:?}; left out: {}", images.len(), data.left_out);
//! # Ok(()) }
//! ```

mod copies;
mod error;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

pub use copies::MergedCopies;
pub use error::{DataSetError, ImagePlace};

use crate::error::Error;
use crate::escape;
use crate::files::{self, LeftOut};
use crate::image_folder::{self, Split};
use crate::image_list::ImageList;

/// Image file with its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledImage {
    /// Path of the file.
    pub path: PathBuf,
    /// Names of its classes in the normal form NFC; none only in a list, several in a list or of
    /// [merged copies](DataSet::merge_copies).
    pub labels: Vec<String>,
    /// Part of the data set, if it has parts.
    pub split: Option<Split>,
    /// Line in the list, counted from 1; none in folders.
    pub line: Option<u64>,
}

/// Image file with the indices of its classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Path of the file.
    pub path: PathBuf,
    /// Indices of the classes: one, or any number of them in a multi-label data set.
    pub labels: Vec<usize>,
}

impl Sample {
    /// Class of an image that has exactly one.
    ///
    /// # Panics
    /// When the image has no class.
    pub fn label(&self) -> usize {
        self.labels[0]
    }
}

/// Labelled images of a folder or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataSet {
    /// Folder or list that was opened.
    pub source: PathBuf,
    /// Images, by split, class and path in folders; in the order of the lines in a list.
    pub images: Vec<LabelledImage>,
    /// Folders of the splits; empty for class folders alone, and for a list.
    pub folders: Vec<(Split, PathBuf)>,
    /// Files and folders that were left out.
    pub left_out: LeftOut,
}

impl DataSet {
    /// Lists the images of the folder or list at `path`; none is decoded.
    ///
    /// # Errors
    /// [`DataSetError::Folder`] or [`DataSetError::List`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataSetError> {
        let path = path.as_ref();
        let metadata = files::metadata(path).map_err(|error: Error| DataSetError::Folder(error.into()))?;
        if metadata.is_dir() {
            return Ok(image_folder::read(path)?);
        }
        let images = ImageList::read(path)?.images;
        Ok(Self { source: path.into(), images, folders: Vec::new(), left_out: LeftOut::default() })
    }

    /// Data set of a store or of shards, whose images are read and not listed.
    pub fn unlisted(source: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), images: Vec::new(), folders: Vec::new(), left_out: LeftOut::default() }
    }

    /// Images of one part; those that are in no part for `None`.
    pub fn part(&self, split: Option<Split>) -> Vec<LabelledImage> {
        self.images.iter().filter(|image| image.split == split).cloned().collect()
    }

    /// Images to evaluate on, and their part: the test images, else the validation images, else those in no part.
    ///
    /// # Errors
    /// [`DataSetError::TrainingOnly`] when all images are training images.
    pub fn held_out(&self) -> Result<(Option<Split>, Vec<LabelledImage>), DataSetError> {
        for split in [Some(Split::Test), Some(Split::Validation), None] {
            let images = self.part(split);
            if !images.is_empty() {
                return Ok((split, images));
            }
        }
        let train = self.folder(Split::Train).unwrap_or(&self.source);
        Err(DataSetError::TrainingOnly { path: self.source.clone(), train: train.into() })
    }

    /// Folder of a split.
    pub fn folder(&self, split: Split) -> Option<&Path> {
        self.folders.iter().find(|(other, _)| *other == split).map(|(_, path)| path.as_path())
    }

    /// Sorted names of the classes of `images`.
    pub fn classes(images: &[LabelledImage]) -> Vec<String> {
        let classes: BTreeSet<&String> = images.iter().flat_map(|image| &image.labels).collect();
        classes.into_iter().cloned().collect()
    }

    /// Gives each image the indices of its classes in `classes`, any number of them; Unicode forms of a name are the same.
    ///
    /// # Errors
    /// [`DataSetError`] names all classes that are not in `classes` or twice in it.
    pub fn label_sets(
        &self,
        images: &[LabelledImage],
        classes: &[String],
    ) -> Result<Vec<Sample>, DataSetError> {
        // Each label of an image is looked up as if it were its only one.
        let single = |image: &LabelledImage| {
            let one = |label: &String| LabelledImage { labels: vec![label.clone()], ..image.clone() };
            image.labels.iter().map(one).collect::<Vec<_>>()
        };
        let split: Vec<LabelledImage> = images.iter().flat_map(single).collect();
        let mut found = self.samples(&split, classes)?.into_iter();
        let set = |image: &LabelledImage| Sample {
            path: image.path.clone(),
            labels: found.by_ref().take(image.labels.len()).map(|sample| sample.label()).collect(),
        };
        Ok(images.iter().map(set).collect())
    }

    /// Gives each image the index of its one class in `classes`; Unicode forms of a name are the same.
    ///
    /// # Errors
    /// [`DataSetError`] names the first image without a class or with several, and all classes that are not in `classes`
    /// or twice in it.
    pub fn samples(&self, images: &[LabelledImage], classes: &[String]) -> Result<Vec<Sample>, DataSetError> {
        let mut indices: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, class) in classes.iter().enumerate() {
            indices.entry(nfc(class)).or_default().push(index);
        }
        let mut samples = Vec::with_capacity(images.len());
        let mut unknown = BTreeSet::new();
        for image in images {
            let label = match &image.labels[..] {
                [label] => label,
                [] => return Err(DataSetError::NoLabel(self.place(image))),
                labels => {
                    return Err(DataSetError::SeveralLabels {
                        place: self.place(image),
                        labels: labels.to_vec(),
                    });
                }
            };
            match indices.get(label).map(Vec::as_slice) {
                Some(&[label]) => samples.push(Sample { path: image.path.clone(), labels: vec![label] }),
                Some(_) => {
                    return Err(DataSetError::AmbiguousClass {
                        place: self.place(image),
                        class: label.clone(),
                    });
                }
                None => drop(unknown.insert(label)),
            }
        }
        let Some(first) =
            images.iter().find(|image| image.labels.iter().any(|label| unknown.contains(label)))
        else {
            return Ok(samples);
        };
        let (place, unknown) = (self.place(first), unknown.into_iter().cloned().collect());
        Err(DataSetError::UnknownClasses { place, unknown, known: classes.to_vec() })
    }

    /// Line of a list, or folder of the class folders, that an image is from.
    pub fn place(&self, image: &LabelledImage) -> ImagePlace {
        let folder = image.split.and_then(|split| self.folder(split));
        ImagePlace { path: folder.unwrap_or(&self.source).into(), line: image.line }
    }

    /// Describes the parts on one line, as `training images in Train, test images in Test`; empty for class folders
    /// without a split, unless one of them is named like a split.
    pub fn description(&self) -> String {
        let is_list = self.images.iter().any(|image| image.line.is_some());
        let parts = if is_list { self.parts_of_list() } else { self.parts_of_folder() };
        parts.join(", ")
    }

    fn parts_of_list(&self) -> Vec<String> {
        let count = |split| self.images.iter().filter(|image| image.split == Some(split)).count();
        let parts = [Split::Train, Split::Validation, Split::Test].map(|split| (count(split), split));
        let present = parts.into_iter().filter(|(count, _)| *count > 0);
        present.map(|(count, split)| format!("{count} {}", images_of(split))).collect()
    }

    fn parts_of_folder(&self) -> Vec<String> {
        if self.folders.is_empty() {
            let classes =
                Self::classes(&self.images).into_iter().filter(|class| class.parse::<Split>().is_ok());
            let line =
                |class: String| format!("{} is a class, for it holds no class folders", escape::name(&class));
            return classes.map(line).collect();
        }
        let short = |path: &Path| escape::path(path.strip_prefix(&self.source).unwrap_or(path)).to_string();
        self.folders.iter().map(|(split, path)| format!("{} in {}", images_of(*split), short(path))).collect()
    }
}

fn images_of(split: Split) -> &'static str {
    match split {
        Split::Train => "training images",
        Split::Validation => "validation images",
        Split::Test => "test images",
    }
}

/// Converts a name to the normal form NFC, in which equal names have equal bytes.
pub fn nfc(name: &str) -> String {
    name.nfc().collect()
}

#[cfg(test)]
mod tests;
