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
    /// What was mixed in.
    pub mixed: Option<Mixed>,
    /// Indices of the pictures in their set.
    pub indices: Vec<usize>,
    /// Its number in the epoch, counted from 0.
    pub step: usize,
    /// Pictures that were left out.
    pub skipped: usize,
}

/// Other pictures mixed into those of a batch.
#[derive(Debug)]
pub struct Mixed {
    /// Their classes, `[N]`.
    pub labels: Tensor,
    /// Share of the batch's own pictures.
    pub share: f64,
}

/// STANDIN
#[derive(Debug, Clone)]
pub struct Loader<'a>(Batches<'a>);

impl<'a> Loader<'a> {
    /// A
    pub fn new(set: &'a PictureSet, preprocessor: &'a Preprocessor, device: Device) -> Self {
        Self(Batches { set, preprocessor, device })
    }
    /// A
    pub fn training(
        &self,
        augment: &Augment,
        batch_size: usize,
        seed: u64,
        epoch: usize,
        first: usize,
    ) -> impl Iterator<Item = Result<Batch, super::DataError>> {
        let groups = self.0.shuffled(batch_size, seed, epoch);
        groups.into_iter().enumerate().skip(first).map(move |(step, group)| {
            let mut batch = self.0.augmented(&group, augment, seed, epoch)?;
            batch.step = step;
            Ok(batch)
        })
    }
    /// A
    pub fn steps(&self, batch_size: usize) -> usize {
        self.0.shuffled(batch_size, 0, 0).len()
    }
    /// A
    pub fn in_order(&self, batch_size: usize) -> impl Iterator<Item = Result<Batch, super::DataError>> {
        self.0.in_order(batch_size).into_iter().map(|group| Ok(self.0.plain(&group)?))
    }
    /// A
    pub fn named(&self, indices: &[usize]) -> String {
        let name = |&index: &usize| self.0.set.path(index).display().to_string();
        let names: Vec<String> = indices.iter().take(3).map(name).collect();
        match indices.len().saturating_sub(3) {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }
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
            mixed: None,
            indices: indices.to_vec(),
            step: 0,
            skipped: 0,
        })
    }
}

/// Random numbers of one picture in one epoch: they do not depend on the order of the work.
fn stream(seed: u64, epoch: usize, index: u32) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(((epoch as u64) << 32) | u64::from(index));
    rng
}
