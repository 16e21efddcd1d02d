//! Random numbers that depend on what they are for, never on the order of the work.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are for; each has a stream of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// The order of the images in an epoch.
    Order,
    /// The changes to the image at this index.
    Image(usize),
    /// The part that is cut out of the image at this index.
    Crop(usize),
    /// The mixture of the batch of this step.
    Mix(usize),
}

/// Random numbers for one purpose in one epoch.
pub(super) fn stream(seed: u64, epoch: usize, purpose: Purpose) -> ChaCha8Rng {
    let (kind, index) = match purpose {
        Purpose::Order => (0, u64::from(u32::MAX)),
        Purpose::Image(index) => (0, index as u64),
        Purpose::Crop(index) => (1, index as u64),
        Purpose::Mix(step) => (2, step as u64),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((kind << 62) | ((epoch as u64) << 32) | index);
    rng
}
