//! Random streams by purpose, independent of the order of work.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Purpose of random numbers; each has its own stream.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// Order of the images in an epoch.
    Order,
    /// Augmentation of an image, by the number of its draw: its index, if every image is drawn once.
    Image(usize),
    /// Resized crop of an image, by the number of its draw.
    Crop(usize),
    /// Mixture of the batch at this step.
    Mix(usize),
    /// Masks of dropout at this step.
    Dropout(usize),
}

/// Draws the numbers from which a step makes its masks of [dropout](crate::dropout), others for each rank.
pub(crate) fn dropout(seed: u64, epoch: usize, step: usize, rank: usize) -> [f32; 2] {
    let mut rng = stream(seed, epoch, Purpose::Dropout(step));
    rng.set_word_pos(16 * rank as u128);
    [(); 2].map(|()| rng.random_range(0..crate::dropout::RANGE) as f32)
}

/// Makes the random stream of a purpose in an epoch.
pub(super) fn stream(seed: u64, epoch: usize, purpose: Purpose) -> ChaCha8Rng {
    let (kind, index) = match purpose {
        Purpose::Order => (0, u64::from(u32::MAX)),
        Purpose::Image(index) => (0, index as u64),
        Purpose::Crop(index) => (1, index as u64),
        Purpose::Mix(step) => (2, step as u64),
        Purpose::Dropout(step) => (3, step as u64),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((kind << 62) | ((epoch as u64) << 32) | index);
    rng
}
