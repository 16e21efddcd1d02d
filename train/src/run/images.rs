//! Images of a run: training, validation and test sets.

use std::ops::ControlFlow;

use ferronnx_infer::preprocess::Preprocessor;
use sha2::{Digest, Sha256};
use tch::Device;

use super::manifest::Manifest;
use super::{Observer, RunConfig, RunError, RunFolder};
pub use crate::data::Split;
use crate::data::content::{Digest as ContentDigest, short_hex};
use crate::data::duplicates::{Copy, Duplicates};
use crate::data::folder::ImageFolder;
use crate::data::images::{ImageSet, Loading};
use crate::data::{Sample, Source, split};

/// Labelled image files of a run; the same for the same seed and limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    /// Images that the network learns from.
    pub train: Vec<Sample>,
    /// Images that choose the best epoch.
    pub validation: Vec<Sample>,
    /// Images that are evaluated once, if there are any.
    pub test: Option<Vec<Sample>>,
    /// Files or shards that hold the images.
    pub source: Source,
}

impl Splits {
    /// Splits the images of a data set by the configuration's seed and limit, and by its share for validation if the data
    /// set has no validation images of its own.
    ///
    /// # Errors
    /// [`RunError::TooFew`] with fewer than two training images or no validation image.
    pub fn new(folder: ImageFolder, config: &RunConfig) -> Result<Self, RunError> {
        let limited = |samples: Vec<Sample>| match config.limit {
            Some(limit) if limit < samples.len() => split::limited(&samples, limit, config.seed),
            _ => samples,
        };
        let train = limited(folder.train);
        let (train, validation) = match folder.validation {
            Some(validation) => (train, limited(validation)),
            None => split::stratified(&train, config.recipe.validation, config.seed),
        };
        if train.len() < 2 || validation.is_empty() {
            return Err(RunError::TooFew { train: train.len(), validation: validation.len() });
        }
        Ok(Self { train, validation, test: folder.test.map(limited), source: folder.source })
    }

    /// Digest of the names of the validation images, without their folders.
    pub(super) fn validation_digest(&self) -> String {
        let mut hasher = Sha256::new();
        for sample in &self.validation {
            hasher.update(sample.path.file_name().unwrap_or_default().as_encoded_bytes());
            hasher.update([0]);
        }
        short_hex(hasher)
    }

    /// Lists and splits the images of a run again.
    ///
    /// # Errors
    /// [`RunError::OtherImages`] names what has changed since the run began, [`RunError::Scan`] when they cannot be listed.
    pub fn find(config: &RunConfig, run: &RunFolder) -> Result<Self, RunError> {
        Self::find_and_tell(config, run, &mut |_| ())
    }

    /// Lists and splits images as [`find`](Self::find), and calls `seen` with the number of images in shards that were read
    /// so far.
    pub(super) fn find_and_tell(
        config: &RunConfig,
        run: &RunFolder,
        seen: &mut dyn FnMut(usize),
    ) -> Result<Self, RunError> {
        let mut folder = ImageFolder::scan_and_tell(config.task, &config.data, seen)?;
        let changes = run.manifest()?.map(|manifest| manifest.changes(&Manifest::new(&folder, config)));
        if folder.digest() != config.data_digest {
            // Runs of programs before November 2026 used no validation images beside test images.
            folder.validation = None;
        }
        // Another folder of the same images, as one that was renamed, is no change.
        let is_other = folder.digest() != config.data_digest || folder.classes != config.labels;
        if is_other || changes.as_ref().is_some_and(|changes| !changes.changed.is_empty()) {
            return Err(RunError::other_images(config, run, changes.unwrap_or_default()));
        }
        Self::new(folder, config)
    }
}

/// Decoded images of a run.
#[derive(Debug)]
pub(super) struct Sets {
    pub train: ImageSet,
    pub validation: ImageSet,
    pub test: Option<ImageSet>,
}

impl Sets {
    /// Reads all images that fit into memory; `None` when `observer` breaks off.
    pub fn read(
        splits: Splits,
        config: &RunConfig,
        preprocessor: &Preprocessor,
        device: Device,
        observer: &mut impl Observer,
    ) -> Result<Option<Self>, RunError> {
        let mut read = |split, samples: Vec<Sample>, originals| -> Result<_, RunError> {
            let (skip_bad, window) = (config.skip_bad, config.shuffle_window);
            let how = Loading { originals, skip_bad, window, ..Loading::new(device) };
            let done = observer.reading(split, samples.len());
            let set = ImageSet::load_from(&splits.source, samples, preprocessor, how, &done);
            drop(done);
            let set = set?;
            let go_on = observer.read(split, set.skipped());
            Ok((go_on == ControlFlow::Continue(())).then_some(set))
        };
        let originals = config.recipe.augment.needs_originals(preprocessor.size().height);
        let Some(train) = read(Split::Train, splits.train, originals)? else { return Ok(None) };
        let Some(validation) = read(Split::Validation, splits.validation, false)? else { return Ok(None) };
        let test = match splits.test {
            Some(samples) => match read(Split::Test, samples, false)? {
                Some(set) => Some(set),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(Self { train, validation, test }))
    }

    /// Numbers of images, by part.
    pub fn counts(&self) -> [(Split, usize); 3] {
        let test = self.test.as_ref().map_or(0, ImageSet::len);
        [(Split::Train, self.train.len()), (Split::Validation, self.validation.len()), (Split::Test, test)]
    }

    /// Files in memory that have equal content.
    pub fn duplicates(&self, classes: &[String]) -> Duplicates {
        let parts = [
            (Split::Train, Some(&self.train)),
            (Split::Validation, Some(&self.validation)),
            (Split::Test, self.test.as_ref()),
        ];
        let sets = parts.into_iter().filter_map(|(part, set)| Some((part, set?)));
        Duplicates::find(sets.flat_map(|(part, set)| {
            set.contents().map(move |(sample, digest)| (digest, Copy::new(part, sample, classes)))
        }))
    }

    /// Digest of the content of all files in memory.
    pub(super) fn content_digest(&self) -> String {
        let sets = [Some(&self.train), Some(&self.validation), self.test.as_ref()];
        let contents = sets.into_iter().flatten().flat_map(ImageSet::contents);
        let add = |hasher: Sha256, (_, digest): (_, ContentDigest)| hasher.chain_update(digest.to_string());
        short_hex(contents.fold(Sha256::new(), add))
    }

    /// The set that the best weights are evaluated on: the test images, or else the validation images.
    pub fn evaluated(&self) -> (Split, &ImageSet) {
        self.test.as_ref().map_or((Split::Validation, &self.validation), |test| (Split::Test, test))
    }
}
