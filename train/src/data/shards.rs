//! Images in shards and object stores: an index of them, and streams in any order of the shards.
//!
//! A [`Shards`] is made by reading everything once: labels lie between the images, and the digests by which a change is
//! noticed need their bytes. It holds names, sizes and digests, and no image.

mod error;
mod labels;
mod order;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ferronnx_infer::decode;
use ferronnx_infer::image_folder::Split;
use ferronnx_infer::places::{self, Content, Item, Label, Options, Place, Unit};
use indexmap::IndexSet;

pub use self::error::ShardError;
pub(super) use self::labels::{Labelled, labelled};
pub(super) use self::order::Streamed;
pub(super) use self::stream::Reading;
use super::Sample;
use super::content::Digest;

/// Index of the images in shards and stores, in the order in which they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shards {
    units: Vec<Unit>,
    /// Index of the first image of each unit, and the number of all images.
    starts: Vec<usize>,
    images: Vec<Encoded>,
    names: HashMap<PathBuf, usize>,
}

/// Encoded image of a shard, as it was when the index was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Encoded {
    bytes: u64,
    digest: Digest,
}

/// Labels of the images of an index.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Labels that occur.
    pub labels: IndexSet<Label>,
    /// Images in the order of the index.
    pub images: Vec<FoundImage>,
}

/// Image of an index with what its shard tells of it.
#[derive(Debug)]
pub(super) struct FoundImage {
    pub name: PathBuf,
    /// Positions among the [labels](Found::labels); none where nothing tells them.
    pub labels: Option<Vec<usize>>,
    pub split: Option<Split>,
}

impl Shards {
    /// Reads the images at `place` once, and calls `seen` with the number of images so far.
    ///
    /// # Errors
    /// [`ShardError`] when a shard or an image cannot be read, or a name is there twice.
    pub(super) fn read(place: Place, seen: &mut dyn FnMut(usize)) -> Result<(Self, Found), ShardError> {
        let options = Options::default();
        let units = places::units(vec![place], &options);
        let units: Vec<Unit> = units.map(|unit| unit.map(with_split)).collect::<Result<_, _>>()?;
        let mut shards = Self { units, starts: vec![0], images: Vec::new(), names: HashMap::new() };
        let mut found = Found::default();
        let mut unit = 0;
        for item in places::items(shards.units.clone().into_iter(), &options) {
            while item.unit.name != shards.units[unit].name {
                shards.starts.push(shards.images.len());
                unit += 1;
            }
            shards.add(item, &mut found)?;
            seen(shards.images.len());
        }
        shards.starts.resize(shards.units.len() + 1, shards.images.len());
        Ok((shards, found))
    }

    fn add(&mut self, item: Item, found: &mut Found) -> Result<(), ShardError> {
        let name = PathBuf::from(&item.name);
        let bytes = encoded(item.content?)?;
        if self.names.insert(name.clone(), self.images.len()).is_some() {
            return Err(ShardError::Twice(item.name));
        }
        self.images.push(Encoded { bytes: bytes.len() as u64, digest: Digest::of_file(&bytes) });
        let position = |label: Label| found.labels.insert_full(label).0;
        let labels = item.labels.map(|labels| labels.into_iter().map(position).collect());
        found.images.push(FoundImage { name, labels, split: item.split });
        Ok(())
    }

    /// Number of shards, and of objects that are one image each.
    pub fn units(&self) -> usize {
        self.units.len()
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// True if there are no images.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Mean size of an encoded image, in bytes.
    pub fn mean_bytes(&self) -> u64 {
        self.images.iter().map(|image| image.bytes).sum::<u64>() / (self.images.len().max(1) as u64)
    }

    /// Size of an encoded image, in bytes; none for a name that is not in the index.
    pub fn bytes(&self, name: &Path) -> Option<u64> {
        self.position(name).map(|position| self.images[position].bytes)
    }

    /// Digest of an encoded image; none for a name that is not in the index.
    pub fn digest(&self, name: &Path) -> Option<Digest> {
        self.position(name).map(|position| self.images[position].digest)
    }

    /// Position of an image in the index.
    fn position(&self, name: &Path) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Positions of samples in the index.
    ///
    /// # Errors
    /// [`ShardError::Changed`] for one that is not in it.
    pub(super) fn positions(&self, samples: &[Sample]) -> Result<Vec<usize>, ShardError> {
        let gone = |sample: &Sample| ShardError::Changed(sample.path.to_string_lossy().into_owned());
        samples.iter().map(|sample| self.position(&sample.path).ok_or_else(|| gone(sample))).collect()
    }

    /// Unit that holds the image at a position.
    fn unit_of(&self, position: usize) -> usize {
        self.starts.partition_point(|&start| start <= position) - 1
    }
}

/// Adds the split that the name of a shard begins with, as in `train-000.tar` and `test-00000-of-00001.parquet`, where no
/// folder or list tells it.
fn with_split(unit: Unit) -> Unit {
    let file = unit.name.rsplit(['/', '\\']).next().unwrap_or_default();
    let word = file.split(['-', '_', '.']).next().unwrap_or_default();
    let named = || if unit.kind.is_shard() { word.parse().ok() } else { None };
    Unit { split: unit.split.or_else(named), ..unit }
}

fn encoded(content: Content) -> Result<Vec<u8>, ShardError> {
    Ok(match content {
        Content::Bytes(bytes) => bytes,
        Content::File(path) => decode::encoded(&path).map_err(|error| error.at(&path))?,
    })
}

/// Place of a data set whose images are in shards or stores; none for a folder or a list of image files.
///
/// # Errors
/// [`ShardError::Failed`] for a URL that cannot be used, [`ShardError::Secret`] for one with a secret in it.
pub(super) fn place(path: &Path) -> Result<Option<Place>, ShardError> {
    let place = path.to_str().map_or_else(|| Ok(path.to_owned().into()), Place::parse)?;
    if place.path().is_none() && Place::parse(&place.name())? != place {
        return Err(ShardError::Secret(place.name()));
    }
    let is_many = match place.path() {
        Some(path) if path.is_dir() => places::holds_many(&place) || holds_folders_of_shards(path),
        _ => places::holds_many(&place) && !is_list_of_files(&place),
    };
    Ok(is_many.then_some(place))
}

/// Tells whether all folders in a folder hold shards alone, as in `DIR/train/*.tar` and `DIR/test/*.tar`.
fn holds_folders_of_shards(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
    let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let mut folders = folders.filter(|path| !is_hidden(path)).peekable();
    folders.peek().is_some() && folders.all(|path| places::holds_many(&path.into()))
}

/// Tells whether a place is a list that names image files of this machine, and neither shards nor addresses.
fn is_list_of_files(place: &Place) -> bool {
    let Some(path) = place.path().filter(|path| path.is_file() && !places::is_shard(place)) else {
        return false;
    };
    let mut beginning = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1 << 16).read_to_end(&mut beginning));
    let text = String::from_utf8_lossy(&beginning).to_lowercase();
    read.is_err() || !["://", ".tar", ".tgz", ".parquet"].iter().any(|mark| text.contains(mark))
}
