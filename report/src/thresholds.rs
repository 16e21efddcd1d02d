//! Thresholds of multi-label classifiers: the probability from which each class is selected.

use crate::metrics::ratio;
use crate::multi_label::LabelScores;

/// Threshold of a class that has no image, or no image without it.
pub const DEFAULT_THRESHOLD: f32 = 0.5;

/// Chooses the threshold of each of `classes` classes with the highest F1 on `images`.
///
/// A threshold lies halfway between two probabilities that occur, so that small differences of an engine select the same
/// classes. Among thresholds of the same F1 it is the one nearest to 0.5. A class that is right for no image keeps
/// [`DEFAULT_THRESHOLD`]: see [`without_images`].
///
/// # Panics
/// When an image does not have a value for each class.
pub fn best_thresholds(classes: usize, images: &[LabelScores]) -> Vec<f32> {
    (0..classes).map(|class| best_threshold(images, class)).collect()
}

/// Classes that are right for none of `images`.
pub fn without_images(classes: usize, images: &[LabelScores]) -> Vec<usize> {
    (0..classes).filter(|&class| images.iter().all(|image| !image.actual[class])).collect()
}

fn best_threshold(images: &[LabelScores], class: usize) -> f32 {
    let mut ranked: Vec<(f32, bool)> =
        images.iter().map(|image| (image.probabilities[class], image.actual[class])).collect();
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let total = ranked.iter().filter(|(_, actual)| *actual).count();
    if total == 0 {
        return DEFAULT_THRESHOLD;
    }
    let (mut selected, mut hits) = (0, 0);
    let (mut best, mut best_f1) = (DEFAULT_THRESHOLD, 0.0);
    let groups: Vec<&[(f32, bool)]> = ranked.chunk_by(|(a, _), (b, _)| a == b).collect();
    for (index, alike) in groups.iter().enumerate() {
        selected += alike.len();
        hits += alike.iter().filter(|(_, actual)| *actual).count();
        let f1 = ratio(2 * hits, selected + total);
        let threshold = between(alike[0].0, groups.get(index + 1).map_or(0.0, |next| next[0].0));
        let is_nearer = (threshold - DEFAULT_THRESHOLD).abs() < (best - DEFAULT_THRESHOLD).abs();
        if f1 > best_f1 || f1 == best_f1 && is_nearer {
            (best, best_f1) = (threshold, f1);
        }
    }
    best
}

/// Threshold that selects `above` and not `below`; 0.5 where it does.
fn between(above: f32, below: f32) -> f32 {
    if above >= DEFAULT_THRESHOLD && below < DEFAULT_THRESHOLD {
        return DEFAULT_THRESHOLD;
    }
    let middle = below + (above - below) / 2.0;
    // Two neighbouring floats have none between them.
    if middle > below { middle } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(scores: &[(f32, bool)]) -> Vec<LabelScores> {
        let image = |&(probability, actual): &(f32, bool)| LabelScores {
            probabilities: vec![probability],
            selected: vec![false],
            actual: vec![actual],
        };
        scores.iter().map(image).collect()
    }

    fn f1(images: &[LabelScores], threshold: f32) -> f64 {
        let selected = |image: &LabelScores| image.probabilities[0] >= threshold;
        let hits = images.iter().filter(|image| selected(image) && image.actual[0]).count();
        let both = images.iter().filter(|image| selected(image)).count()
            + images.iter().filter(|image| image.actual[0]).count();
        ratio(2 * hits, both)
    }

    #[test]
    fn the_highest_f1_of_all_thresholds() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 20) as f32 / 4096.0
        };
        for round in 0..200 {
            let scores: Vec<(f32, bool)> =
                (0..1 + round % 17).map(|_| ((random() * 20.0).round() / 20.0, random() < 0.3)).collect();
            let images = images(&scores);
            let found = best_thresholds(1, &images)[0];
            let best = (0..=1_000).map(|step| f1(&images, step as f32 / 1_000.0)).fold(0.0, f64::max);
            if scores.iter().any(|(_, actual)| *actual) {
                assert!((f1(&images, found) - best).abs() < 1e-12, "{scores:?}: {found}");
            } else {
                assert_eq!(found, DEFAULT_THRESHOLD);
            }
        }
    }

    #[test]
    fn halfway_between_two_probabilities_and_near_one_half() {
        let threshold = |scores: &[(f32, bool)]| best_thresholds(1, &images(scores))[0];
        assert_eq!(threshold(&[(0.3, true), (0.2, false)]), 0.25);
        assert_eq!(threshold(&[(0.9, true), (0.1, false)]), 0.5);
        assert!((threshold(&[(0.9, true), (0.7, false), (0.6, false)]) - 0.8).abs() < 1e-6);
        assert_eq!(threshold(&[(0.4, true), (0.3, true)]), 0.15);
        assert_eq!(threshold(&[(0.4, false)]), 0.5);
        assert_eq!(without_images(1, &images(&[(0.4, false)])), [0]);
        let neighbours = [0.25_f32, f32::from_bits(0.25_f32.to_bits() + 1)];
        assert_eq!(threshold(&[(neighbours[1], true), (neighbours[0], false)]), neighbours[1]);
    }
}
