//! Stratified random choice of samples, the same for the same seed.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Sample;

/// Holds out `fraction` of each class, at least one image and never all: `(kept, held out)`.
pub fn stratified(samples: &[Sample], fraction: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let (mut kept, mut held_out) = (Vec::new(), Vec::new());
    for class in shuffled_classes(samples, seed) {
        let count = (class.len() as f64 * fraction).round() as usize;
        let count = count.max(1).min(class.len() - 1);
        held_out.extend_from_slice(&class[..count]);
        kept.extend_from_slice(&class[count..]);
    }
    (kept, held_out)
}

/// Takes at most `limit` samples, in turn from every class.
pub fn limited(samples: &[Sample], limit: usize, seed: u64) -> Vec<Sample> {
    let classes = shuffled_classes(samples, seed);
    let longest = classes.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .flat_map(|turn| classes.iter().filter_map(move |class| class.get(turn)))
        .take(limit)
        .cloned()
        .collect()
}

/// Groups samples by class, each class in random order.
fn shuffled_classes(samples: &[Sample], seed: u64) -> Vec<Vec<Sample>> {
    let classes = samples.iter().map(|sample| sample.label + 1).max().unwrap_or(0);
    let mut by_class = vec![Vec::new(); classes];
    for sample in samples {
        by_class[sample.label].push(sample.clone());
    }
    by_class.retain(|class| !class.is_empty());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    by_class.iter_mut().for_each(|class| class.shuffle(&mut rng));
    by_class
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples(counts: &[usize]) -> Vec<Sample> {
        let class = |(label, &count): (usize, &usize)| {
            (0..count).map(move |i| Sample { path: format!("{label}/{i}").into(), label }).collect::<Vec<_>>()
        };
        counts.iter().enumerate().flat_map(class).collect()
    }

    fn count(samples: &[Sample], label: usize) -> usize {
        samples.iter().filter(|sample| sample.label == label).count()
    }

    proptest! {
        #[test]
        fn every_class_is_held_out_by_its_share(counts in prop::collection::vec(1usize..60, 2..6), seed: u64) {
            let all = samples(&counts);
            let (kept, held_out) = stratified(&all, 0.1, seed);
            for (label, &size) in counts.iter().enumerate() {
                let expected = ((size as f64 * 0.1).round() as usize).max(1).min(size - 1);
                prop_assert_eq!(count(&held_out, label), expected);
                prop_assert_eq!(count(&kept, label), size - expected);
            }
            let mut both: Vec<_> = kept.iter().chain(&held_out).map(|sample| &sample.path).collect();
            both.sort();
            both.dedup();
            prop_assert_eq!(both.len(), all.len());
            prop_assert_eq!(stratified(&all, 0.1, seed), (kept, held_out));
        }

        #[test]
        fn a_limit_takes_from_all_classes_alike(limit in 0usize..40, seed: u64) {
            let few = limited(&samples(&[5, 30, 30]), limit, seed);
            prop_assert_eq!(few.len(), limit);
            let (a, b) = (count(&few, 1), count(&few, 2));
            prop_assert!(a.abs_diff(b) <= 1);
        }
    }

    #[test]
    fn another_seed_chooses_otherwise() {
        let all = samples(&[100, 100]);
        assert_ne!(stratified(&all, 0.1, 1), stratified(&all, 0.1, 2));
    }
}
