//! Sets of labelled images, decoded in memory if they fit.

use std::path::Path;
use std::sync::Arc;

use ferronnx_infer::decode::Decoded;
use ferronnx_infer::preprocess::Preprocessor;
use image::RgbImage;
use tch::{Device, Tensor};

use super::cache::Cache;
use super::content::Digest;
use super::error::{BadImages, DataError, is_bad};
use super::prefetch::planar;
use super::shards::Streamed;
use super::{Sample, Source};

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
    /// Number of encoded images among which those of shards are shuffled, if the set does not fit into memory.
    pub window: usize,
}

impl Loading {
    /// Default memory for the images of a set, in bytes: 2 GiB hold 14,000 images at 224x224.
    pub const DEFAULT_BUDGET: u64 = 2 << 30;

    /// Default number of images among which those of shards are shuffled: 450 MB of photos of 110 KB.
    pub const DEFAULT_WINDOW: usize = 4096;

    /// Keeps images in the memory of `device` if they fit; an image that cannot be decoded is an error.
    pub fn new(device: Device) -> Self {
        let (budget, window) = (Self::DEFAULT_BUDGET, Self::DEFAULT_WINDOW);
        Self { device, budget, originals: false, skip_bad: false, window }
    }
}

/// A set of labelled images: files or members of shards, and decoded bytes on the device if they fit.
#[derive(Debug)]
pub struct ImageSet {
    samples: Arc<[Sample]>,
    /// Bytes `[N, C, size, size]`.
    cached: Option<Tensor>,
    source: Source,
    /// Places of the images in shards; none for files.
    streamed: Option<Streamed>,
    skip_bad: bool,
    skipped: usize,
    /// Digests of the encoded images that are in memory or in shards, by image.
    digests: Vec<Digest>,
}

/// Decodes and crops images in parallel, `[size, size, 3]` bytes each, and returns them with their samples.
///
/// # Errors
/// As [`ImageSet::load`].
pub fn prepared(
    source: &Source,
    samples: &[Sample],
    preprocessor: &Preprocessor,
    skip_bad: bool,
) -> Result<Vec<(Sample, RgbImage)>, DataError> {
    let images = source.map(samples, |_, decoded| preprocessor.prepare(&decoded.image), || ())?;
    let (mut kept, mut bad) = (Vec::with_capacity(samples.len()), Vec::new());
    for (sample, image) in samples.iter().zip(images) {
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

impl ImageSet {
    /// Loads a set of files, and decodes it in parallel if it fits into memory; `done` is called for each image.
    ///
    /// # Errors
    /// [`DataError::Images`] names images that cannot be decoded, unless they are left out and others remain.
    pub fn load(
        samples: Vec<Sample>,
        preprocessor: &Preprocessor,
        how: Loading,
        done: impl Fn() + Sync,
    ) -> Result<Self, DataError> {
        Self::load_from(&Source::Files, samples, preprocessor, how, done)
    }

    /// Loads a set of images in files or shards as [`load`](Self::load) does. A set of shards that does not fit into memory
    /// has the order of the shards.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`DataError::Shards`] when a shard cannot be read or has changed.
    pub fn load_from(
        source: &Source,
        mut samples: Vec<Sample>,
        preprocessor: &Preprocessor,
        how: Loading,
        done: impl Fn() + Sync,
    ) -> Result<Self, DataError> {
        let bytes = samples.len() as u64 * preprocessor.input_len() as u64;
        if !how.originals && bytes <= how.budget {
            return Self::cached(source, samples, preprocessor, how, done);
        }
        let (mut streamed, mut digests) = (None, Vec::new());
        if let Source::Shards(shards) = source {
            // Evaluation takes the images in their order, and shards are read from their beginnings to their ends.
            let positions = shards.positions(&samples)?;
            let mut placed: Vec<_> = positions.into_iter().zip(samples).collect();
            placed.sort_unstable_by_key(|(position, _)| *position);
            samples = placed.into_iter().map(|(_, sample)| sample).collect();
            digests = samples.iter().filter_map(|sample| shards.digest(&sample.path)).collect();
            streamed = Some(Streamed::new(shards, &samples, how.window)?);
        }
        let samples = samples.into();
        let (source, skip_bad) = (source.clone(), how.skip_bad);
        Ok(Self { samples, cached: None, source, streamed, skip_bad, skipped: 0, digests })
    }

    fn cached(
        source: &Source,
        samples: Vec<Sample>,
        preprocessor: &Preprocessor,
        how: Loading,
        done: impl Fn() + Sync,
    ) -> Result<Self, DataError> {
        let shape = preprocessor.input_shape();
        let work = |encoded: &[u8], decoded: Decoded| {
            let image = preprocessor.prepare(&decoded.image);
            (Digest::of_file(encoded), planar(&image, shape[0]))
        };
        let mut cache = Cache::new(samples.len(), shape, how.device)?;
        source.each(&samples, work, |results| {
            results.iter().for_each(|_| done());
            cache.add(results)
        })?;
        let (cached, kept) = cache.finish(how.skip_bad)?;
        let skipped = samples.len() - kept.len();
        let (indices, digests): (Vec<usize>, _) = kept.into_iter().unzip();
        let samples: Arc<[Sample]> = indices.into_iter().map(|index| samples[index].clone()).collect();
        let streamed = match source {
            Source::Files => None,
            Source::Shards(shards) => Some(Streamed::new(shards, &samples, how.window)?),
        };
        let (source, skip_bad) = (source.clone(), how.skip_bad);
        Ok(Self { samples, cached: Some(cached), source, streamed, skip_bad, skipped, digests })
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

    /// Memory for the encoded images of a window of so many, in bytes; none if the set is in memory, or in files.
    pub(crate) fn held_bytes(&self, window: usize) -> Option<u64> {
        self.source.held_bytes(window.min(self.len())).filter(|_| !self.is_cached())
    }

    /// Decoded image at `index`, resized and cropped to the network's input: `[size, size, 3]` bytes.
    ///
    /// # Errors
    /// [`DataError`] when it is not in memory and cannot be read or decoded.
    pub fn prepared(&self, index: usize, preprocessor: &Preprocessor) -> Result<RgbImage, DataError> {
        let Some(all) = &self.cached else {
            let image = self.source.decoded(&self.samples[index])?;
            return Ok(preprocessor.prepare(&image));
        };
        let image = all.f_get(index as i64)?.f_to_device(Device::Cpu)?;
        let (channels, height, width) = image.size3()?;
        let planes =
            Vec::<u8>::try_from(image.f_expand([3.max(channels), height, width], false)?.f_reshape([-1])?)?;
        let [red, green, blue] = [0, 1, 2].map(|channel| &planes[channel * (height * width) as usize..]);
        Ok(RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let pixel = (y * width as u32 + x) as usize;
            image::Rgb([red[pixel], green[pixel], blue[pixel]])
        }))
    }

    /// Images with the digests of their files; none for files that are not in memory.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&Sample, Digest)> {
        self.samples.iter().zip(self.digests.iter().copied())
    }

    pub(crate) fn samples(&self) -> &Arc<[Sample]> {
        &self.samples
    }

    pub(super) fn images(&self) -> Option<&Tensor> {
        self.cached.as_ref()
    }

    /// Shards that the images are read from; none for files.
    pub(super) fn streamed(&self) -> Option<&Streamed> {
        self.streamed.as_ref()
    }

    pub(crate) fn skips_bad(&self) -> bool {
        self.skip_bad
    }
}
