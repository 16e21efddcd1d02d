//! Order in which an epoch draws its images.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Sample, split};

/// Choice of the images of an epoch; an epoch draws as many images as the set has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Every image once.
    #[default]
    Shuffled,
    /// Every class equally often: images of rare classes are drawn several times, some of frequent classes not at all.
    ///
    /// In a multi-label set an image is drawn for each of its classes; images without a class count as one more class.
    Balanced,
}

/// Image drawn in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draw {
    /// Index of the image in its set.
    pub(super) image: usize,
    /// Number of the random stream that augments it: each draw of an image has its own.
    pub(super) stream: usize,
}

impl Sampling {
    /// Draws the images of an epoch in random order.
    pub(super) fn order(self, samples: &[Sample], rng: &mut impl Rng) -> Vec<Draw> {
        match self {
            Self::Shuffled => {
                let mut order: Vec<usize> = (0..samples.len()).collect();
                order.shuffle(rng);
                order.into_iter().map(|image| Draw { image, stream: image }).collect()
            }
            Self::Balanced => {
                let order = balanced(split::by_class(samples), samples.len(), rng);
                order.into_iter().enumerate().map(|(stream, image)| Draw { image, stream }).collect()
            }
        }
    }
}

/// Draws `count` images, from each class equally many but for one.
///
/// Within a class, every image is drawn before any is drawn again.
fn balanced(mut classes: Vec<Vec<usize>>, count: usize, rng: &mut impl Rng) -> Vec<usize> {
    // Which classes have one draw more changes from epoch to epoch.
    classes.shuffle(rng);
    let mut order = Vec::with_capacity(count);
    let number = classes.len().max(1);
    for (index, class) in classes.iter_mut().enumerate() {
        let mut draws = count / number + usize::from(index < count % number);
        while draws > 0 {
            class.shuffle(rng);
            order.extend(class.iter().take(draws));
            draws = draws.saturating_sub(class.len());
        }
    }
    order.shuffle(rng);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn samples(counts: &[usize]) -> Vec<Sample> {
        let class = |(label, &count): (usize, &usize)| {
            let sample = move |index| Sample { path: format!("{label}/{index}").into(), labels: vec![label] };
            (0..count).map(sample).collect::<Vec<_>>()
        };
        counts.iter().enumerate().flat_map(class).collect()
    }

    fn draws(samples: &[Sample], seed: u64) -> Vec<Draw> {
        Sampling::Balanced.order(samples, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    proptest! {
        #[test]
        fn classes_are_drawn_equally_often(counts in prop::collection::vec(1usize..60, 2..6), seed: u64) {
            let samples = samples(&counts);
            let found = draws(&samples, seed);
            prop_assert_eq!(found.len(), samples.len());
            let mut times = vec![0; samples.len()];
            found.iter().for_each(|draw| times[draw.image] += 1);
            let mut of_class = vec![0; counts.len()];
            found.iter().for_each(|draw| of_class[samples[draw.image].label()] += 1);
            let (least, most) = (of_class.iter().min().unwrap(), of_class.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", of_class);
            for (label, _) in counts.iter().enumerate() {
                let times = samples.iter().zip(&times).filter(|(sample, _)| sample.label() == label);
                let times: Vec<usize> = times.map(|(_, times)| *times).collect();
                prop_assert!(times.iter().max().unwrap() - times.iter().min().unwrap() <= 1, "{:?}", times);
            }
            let mut streams: Vec<usize> = found.iter().map(|draw| draw.stream).collect();
            streams.sort_unstable();
            streams.dedup();
            prop_assert_eq!(streams.len(), samples.len(), "each draw is augmented in its own way");
            prop_assert_eq!(draws(&samples, seed), found);
        }
    }

    #[test]
    fn images_of_several_classes_are_drawn_for_each_and_those_of_none_too() {
        let sample = |labels: &[usize]| Sample { path: format!("{labels:?}").into(), labels: labels.into() };
        let samples = [sample(&[0, 1]), sample(&[0]), sample(&[0]), sample(&[]), sample(&[0])];
        let times = |index: usize| {
            (0..600).flat_map(|seed| draws(&samples, seed)).filter(|draw| draw.image == index).count()
        };
        // Three groups: 0 with four images, 1 with one, none with one; 1,000 draws each.
        assert!((1_200..1_300).contains(&times(0)), "{}", times(0));
        assert!((950..1_050).contains(&times(3)), "{}", times(3));
    }

    #[test]
    fn shuffled_is_every_image_once() {
        let samples = samples(&[3, 9]);
        let found = Sampling::Shuffled.order(&samples, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(found.iter().all(|draw| draw.stream == draw.image));
        let mut images: Vec<usize> = found.iter().map(|draw| draw.image).collect();
        images.sort_unstable();
        assert_eq!(images, (0..12).collect::<Vec<_>>());
    }
}
