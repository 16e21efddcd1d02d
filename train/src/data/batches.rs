//! Batches for the device.

use infer::preprocess::Preprocessor;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use tch::{Device, Tensor};

use super::augment::augment;
use super::pictures::PictureSet;
use crate::error::TorchError;
use crate::recipe::Augment;

/// Images `[N, 3, H, W]` and labels `[N]` on the device.
#[derive(Debug)]
pub struct Batch {
    /// Normalised pictures.
    pub images: Tensor,
    /// Class indices.
    pub labels: Tensor,
}

impl Batch {
    /// How many pictures.
    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes batches of a set of pictures.
#[derive(Debug, Clone, Copy)]
pub struct Batches<'a> {
    /// The pictures.
    pub set: &'a PictureSet,
    /// How they become numbers.
    pub preprocessor: &'a Preprocessor,
    /// Where batches go.
    pub device: Device,
}

impl Batches<'_> {
    /// Indices of all pictures in the random order of `epoch`, in groups of `batch_size`.
    ///
    /// A last group of one is left out: batch norm cannot learn from it.
    pub fn shuffled(&self, batch_size: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.set.len()).collect();
        order.shuffle(&mut stream(seed, epoch, u32::MAX));
        order.chunks(batch_size).filter(|chunk| chunk.len() > 1).map(<[usize]>::to_vec).collect()
    }

    /// All pictures in their own order.
    pub fn in_order(&self, batch_size: usize) -> Vec<Vec<usize>> {
        let order: Vec<usize> = (0..self.set.len()).collect();
        order.chunks(batch_size).map(<[usize]>::to_vec).collect()
    }

    /// The pictures at `indices`, as they are.
    pub fn plain(&self, indices: &[usize]) -> Result<Batch, TorchError> {
        self.assemble(indices, |index, out| self.preprocessor.normalize_into(self.set.picture(index), out))
    }

    /// The pictures at `indices`, each changed by draws that depend on seed, epoch and index alone.
    pub fn augmented(
        &self,
        indices: &[usize],
        how: &Augment,
        seed: u64,
        epoch: usize,
    ) -> Result<Batch, TorchError> {
        self.assemble(indices, |index, out| {
            let picture = augment(self.set.picture(index), how, &mut stream(seed, epoch, index as u32));
            self.preprocessor.normalize_into(&picture, out);
        })
    }

    fn assemble(
        &self,
        indices: &[usize],
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Batch, TorchError> {
        let side = self.preprocessor.size() as usize;
        let item = 3 * side * side;
        let mut values = vec![0.0; indices.len() * item];
        values.par_chunks_mut(item).zip(indices).for_each(|(out, &index)| fill(index, out));
        let shape = [indices.len() as i64, 3, side as i64, side as i64];
        let labels: Vec<i64> = indices.iter().map(|&index| self.set.label(index) as i64).collect();
        Ok(Batch {
            images: Tensor::f_from_slice(&values)?.f_view(shape)?.f_to_device(self.device)?,
            labels: Tensor::f_from_slice(&labels)?.f_to_device(self.device)?,
        })
    }
}

/// Random numbers of one picture in one epoch: they do not depend on the order of the work.
fn stream(seed: u64, epoch: usize, index: u32) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(((epoch as u64) << 32) | u64::from(index));
    rng
}
