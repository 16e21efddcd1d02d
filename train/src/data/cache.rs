//! Decoded images in memory, filled in any order.

use tch::{Device, Kind, Tensor};

use super::content::Digest;
use super::error::{BadImages, DataError, is_bad};
use super::source::Results;

/// Decoded images of a set in the memory of a device, while they are read.
pub(super) struct Cache {
    /// Bytes `[N, C, H, W]`, each image in its place.
    all: Tensor,
    /// Indices of the images that were decoded, with the digests of their files.
    kept: Vec<(usize, Digest)>,
    bad: Vec<ferronnx_infer::Error>,
}

/// Number of images that are moved together.
const CHUNK: usize = 256;

impl Cache {
    /// Makes room for `count` images of `shape` `[C, H, W]`.
    pub fn new(count: usize, shape: [usize; 3], device: Device) -> Result<Self, DataError> {
        let [channels, height, width] = shape.map(|size| size as i64);
        let all = Tensor::f_zeros([count as i64, channels, height, width], (Kind::Uint8, device))?;
        Ok(Self { all, kept: Vec::with_capacity(count), bad: Vec::new() })
    }

    /// Takes in images of some indices, as bytes `[C, H, W]`, each with the digest of its file.
    pub fn add(&mut self, results: Results<(Digest, Vec<u8>)>) -> Result<(), DataError> {
        let (mut indices, mut bytes) = (Vec::new(), Vec::new());
        for (index, image) in results {
            match image {
                Ok((digest, image)) => {
                    self.kept.push((index, digest));
                    indices.push(index as i64);
                    bytes.extend(image);
                }
                Err(error) => self.bad.push(error),
            }
        }
        if indices.is_empty() {
            return Ok(());
        }
        let mut shape = self.all.size();
        shape[0] = indices.len() as i64;
        let bytes = Tensor::f_from_slice(&bytes)?.f_view(&shape[..])?.f_to_device(self.all.device())?;
        let indices = Tensor::f_from_slice(&indices)?.f_to_device(self.all.device())?;
        let _ = self.all.f_index_copy_(0, &indices, &bytes)?;
        Ok(())
    }

    /// Returns the images that were decoded as bytes `[N, C, H, W]`, with their indices and digests, in order.
    ///
    /// # Errors
    /// [`DataError::Images`] names images that cannot be decoded, unless they may be left out and others remain.
    pub fn finish(mut self, skip_bad: bool) -> Result<(Tensor, Vec<(usize, Digest)>), DataError> {
        if !self.bad.is_empty() && (!skip_bad || self.kept.is_empty() || !self.bad.iter().all(is_bad)) {
            return Err(BadImages(self.bad).into());
        }
        self.kept.sort_unstable_by_key(|(index, _)| *index);
        if !self.bad.is_empty() {
            self.close_gaps()?;
        }
        Ok((self.all.f_narrow(0, 0, self.kept.len() as i64)?, self.kept))
    }

    /// Moves the images to the beginning, in their order.
    fn close_gaps(&self) -> Result<(), DataError> {
        let indices: Vec<i64> = self.kept.iter().map(|(index, _)| *index as i64).collect();
        let mut start = 0;
        // An image moves only towards the beginning, so that none is overwritten before it has moved.
        for chunk in indices.chunks(CHUNK) {
            let indices = Tensor::f_from_slice(chunk)?.f_to_device(self.all.device())?;
            let moved = self.all.f_index_select(0, &indices)?;
            self.all.f_narrow(0, start, chunk.len() as i64)?.f_copy_(&moved)?;
            start += chunk.len() as i64;
        }
        Ok(())
    }
}
