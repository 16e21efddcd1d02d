//! Units of input, and the images in them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Label, Place};
use crate::classifier::Source;
use crate::error::Error;
use crate::image_folder::Split;

/// File or object of input: one image, or a shard of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Full path or URL, which stays the same between runs and is unique among the units of a place.
    pub name: String,
    /// File or object itself.
    pub place: Place,
    /// Kind of content, by the name.
    pub kind: UnitKind,
    /// Size in bytes, where the listing tells it.
    pub size: Option<u64>,
    /// Version of the content, where the listing tells it: an ETag, or the time of the last change.
    pub version: Option<String>,
    /// Labels by the list or the class folder, in a shard for all images that have none of their own; none where nothing
    /// tells them.
    pub labels: Option<Vec<Label>>,
    /// Part of the data set by the list, or by the folder that holds the class folders.
    pub split: Option<Split>,
}

/// Kind of content of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UnitKind {
    /// One image.
    Image,
    /// Tar archive of images, with labels beside them as in WebDataset.
    Tar,
    /// Tar archive compressed by gzip.
    #[serde(rename = "tar.gz")]
    TarGz,
    /// Parquet file with a column of images.
    Parquet,
}

/// Image of a unit, or the reason why it could not be read.
///
/// A failure of a whole shard is an item too: its name is the unit's.
#[derive(Debug)]
pub struct Item {
    /// Unit that holds the image.
    pub unit: Arc<Unit>,
    /// Unique name: the unit's, followed by `#` and the member's name or the row in a shard.
    pub name: String,
    /// Labels; none where nothing tells them.
    pub labels: Option<Vec<Label>>,
    /// Part of the data set, as of the unit.
    pub split: Option<Split>,
    /// Encoded image.
    pub content: Result<Content, Error>,
}

/// Encoded image: in memory, or in a file of this machine that is read when it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// File of this machine.
    File(PathBuf),
    /// Bytes of an image file.
    Bytes(Vec<u8>),
}

impl Unit {
    /// Unit of the file or object at `place`, without what a listing would tell of it.
    pub(super) fn new(place: Place, kind: UnitKind) -> Self {
        Self { name: place.name(), place, kind, size: None, version: None, labels: None, split: None }
    }

    /// Item of an image that is the whole unit.
    pub(super) fn item(self: &Arc<Self>, content: Result<Content, Error>) -> Item {
        let content = content.map_err(|error| error.at(&self.name));
        let (labels, split) = (self.labels.clone(), self.split);
        Item { unit: self.clone(), name: self.name.clone(), labels, split, content }
    }

    /// Item of an image in this shard.
    pub(super) fn member(
        self: &Arc<Self>,
        name: impl fmt::Display,
        labels: Option<Vec<Label>>,
        content: Result<Content, Error>,
    ) -> Item {
        let name = format!("{}#{name}", self.name);
        let content = content.map_err(|error| error.at(&name));
        let labels = labels.or_else(|| self.labels.clone());
        Item { unit: self.clone(), name, labels, split: self.split, content }
    }
}

impl Item {
    /// Source for the classifier, named as the item.
    ///
    /// # Errors
    /// The reason why the image could not be read, naming the item.
    pub fn source(self) -> Result<Source, Error> {
        Ok(match self.content? {
            Content::File(path) => Source::File(path),
            Content::Bytes(bytes) => Source::Bytes { path: self.name.into(), bytes },
        })
    }
}

impl UnitKind {
    /// Tells whether the unit holds many images.
    pub fn is_shard(self) -> bool {
        self != Self::Image
    }
}

impl fmt::Display for UnitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Tar => "tar",
            Self::TarGz => "tar.gz",
            Self::Parquet => "parquet",
        })
    }
}
