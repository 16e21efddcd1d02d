//! Stratified random choice of samples, the same for the same seed.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Sample;

/// Holds out `fraction` of each class, at least one image and never all: `(kept, held out)`.
///
/// Samples with one class each are split class by class. Where samples have several classes or none, the split is the
/// iterative stratification of Sechidis et al. 2011 (<https://doi.org/10.1007/978-3-642-23808-6_10>): the rarest class
/// chooses first. Then a class may miss its share by a few images, and one whose images are all needed by rarer classes
/// can be absent from a part.
pub fn stratified(samples: &[Sample], fraction: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let classes = shuffled_classes(samples, seed);
    if samples.iter().any(|sample| sample.labels.len() != 1) {
        return iterative(samples, &classes, fraction);
    }
    let (mut kept, mut held_out) = (Vec::new(), Vec::new());
    for class in classes {
        let class: Vec<Sample> = class.into_iter().map(|index| samples[index].clone()).collect();
        let count = held_out_count(class.len(), fraction);
        held_out.extend_from_slice(&class[..count]);
        kept.extend_from_slice(&class[count..]);
    }
    (kept, held_out)
}

/// Number of a class's images to hold out: its share, at least one and never all.
fn held_out_count(images: usize, fraction: f64) -> usize {
    ((images as f64 * fraction).round() as usize).max(1).min(images - 1)
}

/// Splits samples with several classes, see [`stratified`]; `classes` are their groups in random order.
fn iterative(samples: &[Sample], classes: &[Vec<usize>], fraction: f64) -> (Vec<Sample>, Vec<Sample>) {
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); samples.len()];
    for (group, members) in classes.iter().enumerate() {
        members.iter().for_each(|&index| groups[index].push(group));
    }
    // Number of images that each part still lacks, by group: held out, kept.
    let mut lacking: Vec<[i64; 2]> = classes
        .iter()
        .map(|members| {
            let held_out = held_out_count(members.len(), fraction);
            [held_out as i64, (members.len() - held_out) as i64]
        })
        .collect();
    let mut unassigned: Vec<usize> = classes.iter().map(Vec::len).collect();
    let mut is_held_out: Vec<Option<bool>> = vec![None; samples.len()];
    while let Some(rarest) = (0..classes.len()).filter(|&g| unassigned[g] > 0).min_by_key(|&g| unassigned[g])
    {
        let open: Vec<usize> =
            classes[rarest].iter().copied().filter(|&index| is_held_out[index].is_none()).collect();
        for index in open {
            // The part that lacks more of this class; then of all classes of the image.
            let need = |part: usize| {
                (lacking[rarest][part], groups[index].iter().map(|&group| lacking[group][part]).sum::<i64>())
            };
            let part = usize::from(need(0) <= need(1));
            is_held_out[index] = Some(part == 0);
            for &group in &groups[index] {
                lacking[group][part] -= 1;
                unassigned[group] -= 1;
            }
        }
    }
    let part = |held_out: bool| {
        let chosen = samples.iter().zip(&is_held_out).filter(|(_, is)| **is == Some(held_out));
        chosen.map(|(sample, _)| sample.clone()).collect()
    };
    (part(false), part(true))
}

/// Takes at most `limit` samples, in turn from every class; samples without a class count as one more class.
pub fn limited(samples: &[Sample], limit: usize, seed: u64) -> Vec<Sample> {
    let classes = shuffled_classes(samples, seed);
    let longest = classes.iter().map(Vec::len).max().unwrap_or(0);
    let mut taken = vec![false; samples.len()];
    (0..longest)
        .flat_map(|turn| classes.iter().filter_map(move |class| class.get(turn)))
        .filter(|&&index| !std::mem::replace(&mut taken[index], true))
        .take(limit)
        .map(|&index| samples[index].clone())
        .collect()
}

/// Groups the indices of samples by class, those without a class at the end, each group in random order.
fn shuffled_classes(samples: &[Sample], seed: u64) -> Vec<Vec<usize>> {
    let mut groups = by_class(samples);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    groups.iter_mut().for_each(|group| group.shuffle(&mut rng));
    groups
}

/// Groups the indices of samples by class, without empty classes; those without a class are one more group at the end.
pub(super) fn by_class(samples: &[Sample]) -> Vec<Vec<usize>> {
    let labels = samples.iter().flat_map(|sample| &sample.labels);
    let classes = labels.map(|label| label + 1).max().unwrap_or(0);
    let mut groups = vec![Vec::new(); classes + 1];
    for (index, sample) in samples.iter().enumerate() {
        match &sample.labels[..] {
            [] => groups[classes].push(index),
            labels => labels.iter().for_each(|&label| groups[label].push(index)),
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples(counts: &[usize]) -> Vec<Sample> {
        let class = |(label, &count): (usize, &usize)| {
            let sample = move |i| Sample { path: format!("{label}/{i}").into(), labels: vec![label] };
            (0..count).map(sample).collect::<Vec<_>>()
        };
        counts.iter().enumerate().flat_map(class).collect()
    }

    fn count(samples: &[Sample], label: usize) -> usize {
        samples.iter().filter(|sample| sample.labels.contains(&label)).count()
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

    proptest! {
        #[test]
        fn several_classes_an_image_are_in_both_parts(
            sets in prop::collection::vec(prop::collection::btree_set(0usize..5, 0..4), 20..200),
            seed: u64,
        ) {
            let sample = |(index, labels): (usize, &std::collections::BTreeSet<usize>)| Sample {
                path: index.to_string().into(),
                labels: labels.iter().copied().collect(),
            };
            let all: Vec<Sample> = sets.iter().enumerate().map(sample).collect();
            let (kept, held_out) = stratified(&all, 0.2, seed);
            prop_assert_eq!(kept.len() + held_out.len(), all.len());
            let again = stratified(&all, 0.2, seed);
            prop_assert_eq!((&again.0, &again.1), (&kept, &held_out));
            for label in 0..5 {
                let (size, found) = (count(&all, label), count(&held_out, label));
                if size >= 20 {
                    prop_assert!(found >= 1 && found < size, "{found} of {size} of class {label}");
                    // Classes that are always seen together pull each other's images along.
                    let missed = (found as f64 - 0.2 * size as f64).abs();
                    prop_assert!(missed < f64::max(0.15 * size as f64, 6.0), "{found} of {size}");
                }
            }
            let few = limited(&all, 15, seed);
            prop_assert_eq!(few.len(), 15);
            let mut paths: Vec<_> = few.iter().map(|sample| &sample.path).collect();
            paths.sort();
            paths.dedup();
            prop_assert_eq!(paths.len(), 15, "an image is taken once");
        }
    }

    #[test]
    fn a_rare_class_reaches_both_parts_and_a_single_image_is_learned_from() {
        let sample =
            |index: usize, labels: &[usize]| Sample { path: index.to_string().into(), labels: labels.into() };
        // Class 1 is on two images and class 2 on one, always beside class 0.
        let mut all: Vec<Sample> = (0..40).map(|index| sample(index, &[0])).collect();
        all.extend([sample(40, &[0, 1]), sample(41, &[0, 1]), sample(42, &[0, 2])]);
        for seed in 0..50 {
            let (kept, held_out) = stratified(&all, 0.1, seed);
            assert_eq!((count(&kept, 1), count(&held_out, 1)), (1, 1));
            assert_eq!((count(&kept, 2), count(&held_out, 2)), (1, 0));
            assert_eq!(count(&held_out, 0), 4);
        }
    }
}
