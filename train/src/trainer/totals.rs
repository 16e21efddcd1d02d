//! Sums over batches that stay on the device until they are read, and a check for losses that are not finite.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::data::batches::{Batch, Targets};
use crate::error::TorchError;

/// Sums read from the device; floats as they are there, so that saving loses nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums {
    /// Number of images.
    pub images: usize,
    /// Number of images that were left out because they cannot be decoded.
    pub skipped: usize,
    /// Sum of the losses of all images.
    pub loss: f32,
    /// Number of images classified correctly; in a multi-label task the sum of the images' shares of right decisions.
    pub correct: f32,
}

impl Sums {
    /// Mean loss and accuracy.
    pub fn means(&self) -> (f64, f64) {
        let mean = |sum: f32| f64::from(sum) / self.images as f64;
        (mean(self.loss), mean(self.correct))
    }
}

/// Sums on the device.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Images trained on, and images left out, as far as all ranks know.
    counts: [usize; 2],
    /// The same of this rank, since the others got to know.
    own: [usize; 2],
    ranks: usize,
    /// Sum of losses and number of correct predictions, `[2]`.
    sums: Tensor,
}

impl Totals {
    /// Goes on from earlier sums, with this number of ranks.
    pub fn new(sums: &Sums, ranks: usize, device: tch::Device) -> Result<Self, TorchError> {
        let tensor = Tensor::f_from_slice(&[sums.loss, sums.correct])?.f_to_device(device)?;
        Ok(Self { counts: [sums.images, sums.skipped], own: [0, 0], ranks, sums: tensor })
    }

    /// Number of images so far; an estimate from this rank's own between two [exchanges](Self::take_own) of several ranks.
    pub fn images(&self) -> usize {
        self.counts[0] + self.own[0] * self.ranks
    }

    /// Adds the [sums](batch_sums) `[2]` of a batch, over all ranks, and the counts of this rank's part of it.
    pub fn add(&mut self, sums: &Tensor, batch: &Batch) -> Result<(), TorchError> {
        let counts = [batch.len(), batch.skipped];
        match self.ranks {
            1 => self.add_counts(counts),
            _ => self.own = std::array::from_fn(|index| self.own[index] + counts[index]),
        }
        self.sums = self.sums.f_add(sums)?;
        Ok(())
    }

    /// Takes the counts that the other ranks do not know yet: images trained on, and images left out.
    pub fn take_own(&mut self) -> [usize; 2] {
        std::mem::take(&mut self.own)
    }

    /// Adds counts that were [taken](Self::take_own) from a rank.
    pub fn add_counts(&mut self, counts: [usize; 2]) {
        self.counts = std::array::from_fn(|index| self.counts[index] + counts[index]);
    }

    /// Reads the sums; waits for the device.
    pub fn read(&self) -> Result<Sums, TorchError> {
        let sums = Vec::<f32>::try_from(&self.sums)?;
        let [images, skipped] = self.counts;
        Ok(Sums { images, skipped, loss: sums[0], correct: sums[1] })
    }
}

/// Computes the sum of losses and the number of correct predictions of a batch, `[2]`, from its mean `loss` `[]` and its
/// `logits` `[N, classes]`.
pub(crate) fn batch_sums(
    loss: &Tensor,
    logits: &Tensor,
    targets: &Targets<'_>,
) -> Result<Tensor, TorchError> {
    let loss = loss.f_mul_scalar(logits.size()[0] as f64)?;
    let labels = targets.main()?;
    let correct = match labels.dim() {
        1 => logits.f_argmax(1, false)?.f_eq_tensor(&labels)?.f_sum(Kind::Float)?,
        // Several labels an image: the share of its classes that are selected rightly, at a probability of 0.5.
        _ => {
            let selected = logits.f_ge(0.0)?.f_to_kind(Kind::Float)?;
            selected.f_eq_tensor(&labels)?.f_mean_dim(1, false, Kind::Float)?.f_sum(Kind::Float)?
        }
    };
    Ok(Tensor::f_stack(&[loss, correct], 0)?)
}

/// Losses since the last check. They are kept with their step, so that the device need not be waited for after each.
#[derive(Debug, Default)]
pub(crate) struct Watch(Vec<(Tensor, usize, Vec<usize>)>);

/// A loss that is not finite.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NotFinite {
    /// The loss.
    pub loss: f64,
    /// Step, counted from 0.
    pub step: usize,
    /// Images of its batch.
    pub indices: Vec<usize>,
}

impl Watch {
    /// Keeps the loss of a step.
    pub fn keep(&mut self, loss: Tensor, step: usize, indices: &[usize]) {
        self.0.push((loss, step, indices.to_vec()));
    }

    /// Drops the kept losses and returns the first that is not finite; waits for the device.
    pub fn look(&mut self) -> Result<Option<NotFinite>, TorchError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let kept = std::mem::take(&mut self.0);
        let losses: Vec<&Tensor> = kept.iter().map(|(loss, ..)| loss).collect();
        let values = Vec::<f32>::try_from(&Tensor::f_stack(&losses, 0)?)?;
        let mut found =
            kept.into_iter().zip(values.into_iter().map(f64::from)).filter(|(_, loss)| !loss.is_finite());
        Ok(found.next().map(|((_, step, indices), loss)| NotFinite { loss, step, indices }))
    }
}
