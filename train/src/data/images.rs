//! Sets of labelled images, decoded in memory if they fit.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use ferronnx_infer::preprocess::Preprocessor;
use image::RgbImage;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::Sample;
use super::content::Digest;
use super::error::{BadImages, DataError, is_bad};
use super::prefetch::{Decoded, decode, planar, read};

/// Settings of loading a set of images.
#[derive(Debug, Clone, Copy)]
pub struct Loading {
    /// Device that keeps the decoded images.
    pub device: Device,
    /// Memory for the decoded images, in bytes; a larger set is decoded again in every epoch.
    pub budget: u64,
    /// True if training needs full images, for resized crops; the set is then decoded in every epoch.
    pub originals: bool,
    /// True if images that cannot be decoded are left out instead of being an error.
    pub skip_bad: bool,
}

impl Loading {
    /// Default memory for the images of a set, in bytes: 2 GiB hold 14,000 images at 224x224.
    pub const DEFAULT_BUDGET: u64 = 2 << 30;

    /// Keeps images in the memory of `device` if they fit; an image that cannot be decoded is an error.
    pub fn new(device: Device) -> Self {
        Self { device, budget: Self::DEFAULT_BUDGET, originals: false, skip_bad: false }
    }
}

/// A set of labelled images: files, and decoded bytes on the device if they fit.
#[derive(Debug)]
pub struct ImageSet {
    samples: Arc<[Sample]>,
    /// Bytes `[N, C, size, size]`.
    cached: Option<Tensor>,
    skip_bad: bool,
    skipped: usize,
    /// Digests of the files in memory, by image.
    digests: Vec<Digest>,
}

/// Decodes and crops images in parallel, `[size, size, 3]` bytes each, and returns them with their samples.
///
/// # Errors
/// As [`ImageSet::load`].
pub fn prepared(
    samples: &[Sample],
    preprocessor: &Preprocessor,
    skip_bad: bool,
) -> Result<Vec<(Sample, RgbImage)>, DataError> {
    let work = |sample: &Sample| decode(&sample.path, |image| preprocessor.prepare(&image));
    let (mut kept, mut bad) = (Vec::with_capacity(samples.len()), Vec::new());
    for (sample, image) in samples.iter().zip(samples.par_iter().map(work).collect::<Vec<_>>()) {
        match image {
            Ok(image) => kept.push((sample.clone(), image)),
            Err(error) => bad.push(error),
        }
    }
    if bad.is_empty() || skip_bad && !kept.is_empty() && bad.iter().all(is_bad) {
        Ok(kept)
    } else {
        Err(BadImages(bad).into())
    }
}

/// Number of images decoded together: enough for all cores, with little memory.
const CHUNK: usize = 256;

impl ImageSet {
    /// Loads a set, and decodes it in parallel if it fits into memory; `done` is called for each image.
    ///
    /// # Errors
    /// [`DataError::Images`] names images that cannot be decoded, unless they are left out and others remain.
    pub fn load(
        samples: Vec<Sample>,
        preprocessor: &Preprocessor,
        how: Loading,
        done: impl Fn() + Sync,
    ) -> Result<Self, DataError> {
        let bytes = samples.len() as u64 * preprocessor.input_len() as u64;
        if how.originals || bytes > how.budget {
            let samples = samples.into();
            return Ok(Self {
                samples,
                cached: None,
                skip_bad: how.skip_bad,
                skipped: 0,
                digests: Vec::new(),
            });
        }
        Self::cached(samples, preprocessor, how, done)
    }

    fn cached(
        samples: Vec<Sample>,
        preprocessor: &Preprocessor,
        how: Loading,
        done: impl Fn() + Sync,
    ) -> Result<Self, DataError> {
        let channels = preprocessor.input_shape()[0];
        let item = preprocessor.input_shape().map(|size| size as i64);
        let shape = [samples.len() as i64, item[0], item[1], item[2]];
        let all = Tensor::f_zeros(shape, (Kind::Uint8, how.device))?;
        let digests: Vec<OnceLock<Digest>> = samples.iter().map(|_| OnceLock::new()).collect();
        let work = |index: usize| {
            let image = read(&samples[index].path, |encoded, decoded| {
                digests[index].get_or_init(|| Digest::of_file(encoded));
                preprocessor.prepare(&decoded.image)
            });
            done();
            image.map(|image| planar(&image, channels))
        };
        let (mut kept, mut bad) = (Vec::with_capacity(samples.len()), Vec::new());
        for chunk in (0..samples.len()).collect::<Vec<_>>().chunks(CHUNK) {
            let Some(decoded) = Decoded::make(chunk, work, &AtomicBool::new(false)) else { break };
            let count = decoded.items.len() as i64;
            let bytes = Tensor::f_from_slice(&decoded.bytes)?.f_view([count, item[0], item[1], item[2]])?;
            all.f_narrow(0, kept.len() as i64, count)?.f_copy_(&bytes)?;
            kept.extend(decoded.items);
            bad.extend(decoded.bad);
        }
        if !bad.is_empty() && (!how.skip_bad || kept.is_empty() || !bad.iter().all(is_bad)) {
            return Err(BadImages(bad).into());
        }
        let cached = Some(all.f_narrow(0, 0, kept.len() as i64)?);
        let digests = kept.iter().filter_map(|&index| digests[index].get().copied()).collect();
        let samples = kept.into_iter().map(|index| samples[index].clone()).collect();
        Ok(Self { samples, cached, skip_bad: how.skip_bad, skipped: bad.len(), digests })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// True if the set has no images.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Number of images that were left out when the set was loaded. Sets that are decoded in every epoch report it in
    /// their [batches](super::batches::Batch::skipped).
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// True if the images are in memory.
    pub fn is_cached(&self) -> bool {
        self.cached.is_some()
    }

    /// Classes of the image at `index`.
    pub fn labels(&self, index: usize) -> &[usize] {
        &self.samples[index].labels
    }

    /// Number of images of each of `classes` classes.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        let labels = self.samples.iter().flat_map(|sample| &sample.labels);
        labels.filter(|&&label| label < classes).for_each(|&label| counts[label] += 1);
        counts
    }

    /// Class of the image at `index`, which has exactly one.
    ///
    /// # Panics
    /// When the image has no class.
    pub fn label(&self, index: usize) -> usize {
        self.samples[index].label()
    }

    /// File of the image at `index`.
    pub fn path(&self, index: usize) -> &Path {
        &self.samples[index].path
    }

    /// Images with the digests of their files; none if the set is not in memory.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&Sample, Digest)> {
        self.samples.iter().zip(self.digests.iter().copied())
    }

    pub(crate) fn samples(&self) -> &Arc<[Sample]> {
        &self.samples
    }

    pub(super) fn images(&self) -> Option<&Tensor> {
        self.cached.as_ref()
    }

    pub(crate) fn skips_bad(&self) -> bool {
        self.skip_bad
    }
}
