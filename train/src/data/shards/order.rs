//! Order in which an epoch takes the images of shards: shards at random, and images within a window.

use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::{Reading, ShardError, Shards};
use crate::data::Sample;
use crate::data::sampling::Draw;

/// Samples that are in shards, which are read again in every epoch.
#[derive(Debug, Clone)]
pub(in crate::data) struct Streamed {
    shards: Arc<Shards>,
    /// Position of each sample in the index.
    positions: Arc<[usize]>,
    window: usize,
}

impl Streamed {
    /// Finds samples in the index; images are shuffled within a `window` of so many.
    pub fn new(shards: &Arc<Shards>, samples: &[Sample], window: usize) -> Result<Self, ShardError> {
        let positions = shards.positions(samples)?.into();
        Ok(Self { shards: Arc::clone(shards), positions, window: window.max(1) })
    }

    /// Units in the order of the index.
    pub fn units(&self) -> Vec<usize> {
        (0..self.shards.units()).collect()
    }

    /// Brings the draws of an epoch into an order in which shards can be read from their beginnings to their ends, and
    /// returns that of the units.
    ///
    /// The draws follow each other as in the shuffled shards, and are then shuffled within the window. This is all random,
    /// and depends on nothing but `rng`: the same on all ranks and in a run that goes on.
    pub fn arrange(&self, draws: &mut Vec<Draw>, rng: &mut impl Rng) -> Vec<usize> {
        let mut units = self.units();
        units.shuffle(rng);
        let mut rank = vec![0; units.len()];
        units.iter().enumerate().for_each(|(place, &unit)| rank[unit] = place);
        draws.sort_by_cached_key(|draw| {
            let position = self.positions[draw.image];
            (rank[self.shards.unit_of(position)], position, draw.stream)
        });
        *draws = shuffled(std::mem::take(draws), self.window, rng);
        units
    }

    /// Starts to read the images of these draws, with the units in this order.
    pub fn read<'d>(&self, units: &[usize], draws: impl Iterator<Item = &'d Draw>) -> Reading {
        let positions = draws.map(|draw| self.positions[draw.image]);
        Reading::start(Arc::clone(&self.shards), units, positions)
    }

    /// Position of a draw's image in the index.
    pub fn position(&self, draw: &Draw) -> usize {
        self.positions[draw.image]
    }
}

/// Shuffles a sequence within a window, as a buffer does that gives a random one of its items for each new one: nothing
/// comes more than `window` places too early, and at most `window` items wait.
fn shuffled<T>(items: Vec<T>, window: usize, rng: &mut impl Rng) -> Vec<T> {
    let (mut buffer, mut order) = (Vec::with_capacity(window.min(items.len())), Vec::new());
    for item in items {
        if buffer.len() < window {
            buffer.push(item);
        } else {
            let place = rng.random_range(0..window);
            order.push(std::mem::replace(&mut buffer[place], item));
        }
    }
    buffer.shuffle(rng);
    order.extend(buffer);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    proptest! {
        #[test]
        fn nothing_comes_early_and_a_window_of_items_waits(
            count in 0usize..200,
            window in 1usize..40,
            seed: u64,
        ) {
            let found = shuffled((0..count).collect(), window, &mut ChaCha8Rng::seed_from_u64(seed));
            let mut sorted = found.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            let mut read = 0;
            for (taken, &item) in found.iter().enumerate() {
                prop_assert!(item <= taken + window, "{item} at {taken}");
                read = read.max(item + 1);
                prop_assert!(read - taken <= window + 1, "{} wait", read - taken);
            }
        }
    }

    #[test]
    fn a_window_of_one_keeps_the_order_and_a_large_one_any() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert_eq!(shuffled((0..50).collect(), 1, &mut rng), (0..50).collect::<Vec<_>>());
        // In 4,000 shuffles of four, each of the 24 orders occurs about 167 times.
        let mut times = std::collections::HashMap::new();
        for _ in 0..4_000 {
            *times.entry(shuffled((0..4).collect(), 9, &mut rng)).or_insert(0) += 1;
        }
        assert_eq!(times.len(), 24);
        assert!(times.values().all(|times| (110..230).contains(times)), "{times:?}");
    }
}
