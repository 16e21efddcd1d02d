//! Files or shards that hold the encoded images of samples.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ferronnx_infer::decode::Decoded;
use image::RgbImage;
use rayon::prelude::*;

use super::Sample;
use super::error::{BadImages, DataError};
use super::prefetch::{read, read_bytes};
use super::shards::{Reading, Shards};

/// Files or shards that hold the images of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// A file for each image, whose path is that of its sample.
    #[default]
    Files,
    /// Shards or objects, in which the image has the name that is the path of its sample.
    Shards(Arc<Shards>),
}

/// Number of images decoded together: enough for all cores, with little memory.
const CHUNK: usize = 256;

/// Results for some samples, each with the index of the sample.
pub(super) type Results<T> = Vec<(usize, Result<T, ferronnx_infer::Error>)>;

impl Source {
    /// Size of an encoded image, in bytes, as far as it is known.
    pub fn bytes(&self, path: &Path) -> Option<u64> {
        match self {
            Self::Files => fs::metadata(path).ok().map(|metadata| metadata.len()),
            Self::Shards(shards) => shards.bytes(path),
        }
    }

    /// Memory for so many encoded images of shards, in bytes; none for files, which are read when they are decoded.
    pub(crate) fn held_bytes(&self, images: usize) -> Option<u64> {
        match self {
            Self::Files => None,
            Self::Shards(shards) => Some(shards.mean_bytes() * images as u64),
        }
    }

    /// Decodes the images of `samples` on all cores, and passes what `work` makes of their bytes and pixels to `keep`, some
    /// hundred at a time: files in their order, images of shards in that of the shards.
    ///
    /// # Errors
    /// [`DataError::Shards`] when a shard cannot be read or has changed, and those of `keep`. Images that cannot be
    /// decoded are results.
    pub(super) fn each<T: Send>(
        &self,
        samples: &[Sample],
        work: impl Fn(&[u8], Decoded) -> T + Sync,
        mut keep: impl FnMut(Results<T>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let Self::Shards(shards) = self else {
            let indices: Vec<usize> = (0..samples.len()).collect();
            return indices.chunks(CHUNK).try_for_each(|chunk| {
                keep(chunk.par_iter().map(|&index| (index, read(&samples[index].path, &work))).collect())
            });
        };
        let positions = shards.positions(samples)?;
        let indices: HashMap<usize, usize> =
            positions.iter().enumerate().map(|(index, &position)| (position, index)).collect();
        let order: Vec<usize> = (0..shards.units()).collect();
        let mut reading = Reading::start(Arc::clone(shards), &order, positions);
        loop {
            let chunk = std::iter::from_fn(|| reading.take_next()).take(CHUNK);
            let chunk = chunk.collect::<Result<Vec<_>, _>>()?;
            if chunk.is_empty() {
                return Ok(());
            }
            let one = |(position, bytes): (usize, Arc<[u8]>)| {
                let index = indices[&position];
                (index, read_bytes(&samples[index].path, &bytes, &work))
            };
            keep(chunk.into_par_iter().map(one).collect())?;
        }
    }

    /// Decodes the images of `samples` on all cores, and returns what `work` makes of each, in the order of the samples;
    /// `done` is called for each.
    ///
    /// # Errors
    /// [`DataError::Shards`] when a shard cannot be read or has changed.
    pub(super) fn map<T: Send>(
        &self,
        samples: &[Sample],
        work: impl Fn(&[u8], Decoded) -> T + Sync,
        done: impl Fn(),
    ) -> Result<Vec<Result<T, ferronnx_infer::Error>>, DataError> {
        let mut all: Results<T> = Vec::with_capacity(samples.len());
        self.each(samples, work, |results| {
            results.iter().for_each(|_| done());
            all.extend(results);
            Ok(())
        })?;
        all.sort_unstable_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, result)| result).collect())
    }

    /// Decodes the image of a sample; a shard is read up to it.
    ///
    /// # Errors
    /// [`DataError::Shards`] when a shard cannot be read or has changed, [`DataError::Images`] when the image cannot be
    /// decoded.
    pub fn decoded(&self, sample: &Sample) -> Result<RgbImage, DataError> {
        let mut found = self.map(std::slice::from_ref(sample), |_, decoded| decoded.image, || ())?;
        Ok(found.remove(0).map_err(|error| BadImages(vec![error]))?)
    }
}
