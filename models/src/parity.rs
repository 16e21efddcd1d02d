//! Parity: comparison of a model file's logits with libtorch's, at the export and at each verification.

use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::tolerance::Tolerance;

/// Result of comparing a model file with libtorch on the same images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Parity {
    /// Number of images compared.
    #[serde(rename = "pictures")]
    pub images: usize,
    /// Largest absolute difference of a logit.
    pub max_difference: f64,
    /// Mean absolute difference of a logit.
    pub mean_difference: f64,
    /// Largest difference of a logit, relative to the largest logit of its batch.
    pub max_relative_difference: f64,
    /// Root mean square of the differences of all logits, each relative to the largest logit of its batch; 0 in
    /// certificates of earlier versions.
    #[serde(default)]
    pub rms_relative_difference: f64,
    /// Number of images with the same top-1 class.
    pub agreeing: usize,
    /// Number of ties: the top-1 classes differ, but their logits in libtorch are closer than the tolerance.
    pub ties: usize,
}

impl Parity {
    /// Tells whether all logits are within `tolerance`, and all top-1 classes agree or tie, but for the share that may
    /// change; `false` for no images.
    pub fn holds(&self, tolerance: Tolerance) -> bool {
        let changed = self.images - (self.agreeing + self.ties).min(self.images);
        self.images > 0
            && self.max_relative_difference <= tolerance.max
            && self.rms_relative_difference <= tolerance.rms
            && changed as f64 <= tolerance.changed * self.images as f64
    }
}

/// Comparison in progress, to which batches are added.
#[derive(Debug, Default)]
pub struct Comparison {
    tolerance: f64,
    parity: Parity,
    values: usize,
    /// Sum of the squares of the relative differences.
    squares: f64,
    disagreeing: Vec<Disagreement>,
    worst: Option<Worst>,
    right: [usize; 2],
}

/// Image whose top-1 class in the file is not libtorch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disagreement {
    /// Position of the image among those compared.
    pub image: usize,
    /// Top-1 class in libtorch.
    pub reference: usize,
    /// Top-1 class in the file.
    pub found: usize,
    /// Difference of the two classes' logits in libtorch, relative to the largest logit.
    pub margin: f64,
}

/// Logit with the largest difference to libtorch's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Worst {
    /// Position of the image among those compared.
    #[serde(rename = "picture")]
    pub image: usize,
    /// Class of the logit.
    pub class: usize,
    /// Logit in the file.
    pub found: f32,
    /// Logit in libtorch.
    pub reference: f32,
}

impl Comparison {
    /// Starts a comparison; classes whose logits are closer than `tolerance`, relative to the largest logit, are a tie.
    pub fn new(tolerance: f64) -> Self {
        Self { tolerance, ..Self::default() }
    }

    /// Adds a batch: logits `[N, classes]` of the file and of libtorch, and the true classes if they are known.
    pub fn add(
        &mut self,
        found: ArrayView2<'_, f32>,
        reference: ArrayView2<'_, f32>,
        labels: Option<&[usize]>,
    ) {
        let scale = reference.iter().fold(0.0, |max: f64, &value| max.max(f64::from(value).abs()));
        let scale = scale.max(f64::MIN_POSITIVE);
        for (index, (ours, reference)) in found.rows().into_iter().zip(reference.rows()).enumerate() {
            for (class, (&found, &reference)) in ours.iter().zip(reference).enumerate() {
                let image = self.parity.images;
                self.value(Worst { image, class, found, reference }, scale);
            }
            let [best, found] = [reference, ours].map(best);
            let parity = &mut self.parity;
            if found == best {
                parity.agreeing += 1;
            } else {
                let margin = f64::from(reference[best] - reference[found]) / scale;
                parity.ties += usize::from(margin <= self.tolerance);
                let image = parity.images;
                self.disagreeing.push(Disagreement { image, reference: best, found, margin });
            }
            parity.images += 1;
            if let Some(labels) = labels {
                self.right[0] += usize::from(best == labels[index]);
                self.right[1] += usize::from(found == labels[index]);
            }
        }
    }

    fn value(&mut self, value: Worst, scale: f64) {
        let difference = (f64::from(value.found) - f64::from(value.reference)).abs();
        let relative = difference / scale;
        // NaN compares as smaller than any tolerance, and a difference relative to infinity is zero. Neither may pass.
        let finite = relative.is_finite() && scale.is_finite();
        let [difference, relative] = if finite { [difference, relative] } else { [f64::INFINITY; 2] };
        let parity = &mut self.parity;
        if relative > parity.max_relative_difference || self.worst.is_none() {
            self.worst = Some(value);
        }
        parity.max_difference = parity.max_difference.max(difference);
        parity.max_relative_difference = parity.max_relative_difference.max(relative);
        self.values += 1;
        self.squares += relative * relative;
        parity.rms_relative_difference = (self.squares / self.values as f64).sqrt();
        parity.mean_difference += (difference - parity.mean_difference) / self.values as f64;
    }

    /// Logit with the largest difference, relative to the largest logit of its batch.
    pub fn worst(&self) -> Option<Worst> {
        self.worst
    }

    /// Result so far.
    pub fn parity(&self) -> Parity {
        self.parity
    }

    /// Images whose top-1 classes differ.
    pub fn disagreeing(&self) -> &[Disagreement] {
        &self.disagreeing
    }

    /// Number of images that libtorch and the file classify correctly, of those whose class is known.
    pub fn right(&self) -> [usize; 2] {
        self.right
    }
}

/// Index of the largest value, the first of equal ones.
fn best(values: ArrayView1<'_, f32>) -> usize {
    let order = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1).then(b.0.cmp(&a.0));
    values.iter().enumerate().max_by(order).map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn compared(found: &Array2<f32>, reference: &Array2<f32>) -> Comparison {
        let mut comparison = Comparison::new(1e-4);
        comparison.add(found.view(), reference.view(), Some(&[0, 1][..reference.nrows()]));
        comparison
    }

    #[test]
    fn differences_are_relative_to_the_largest_logit() {
        let reference = array![[10.0, 0.0], [1.0, 2.0]];
        let found = compared(&array![[10.0, 0.0], [1.002, 2.0]], &reference).parity();
        assert!((found.max_relative_difference - 2e-4).abs() < 1e-6);
        assert!((found.max_difference - 2e-3).abs() < 1e-5 && (found.mean_difference - 5e-4).abs() < 1e-5);
        assert!((found.rms_relative_difference - 1e-4).abs() < 1e-6, "the root of the mean of four squares");
        assert_eq!((found.images, found.agreeing, found.ties), (2, 2, 0));
    }

    #[test]
    fn another_class_is_a_tie_when_the_best_two_are_close() {
        let reference = array![[10.0, 0.0], [2.0, 2.0001]];
        let tie = compared(&array![[10.0, 0.0], [2.0001, 2.0]], &reference);
        assert_eq!((tie.parity().agreeing, tie.parity().ties, tie.right()), (1, 1, [2, 1]));
        let [only] = tie.disagreeing() else { panic!("one") };
        assert_eq!((only.image, only.reference, only.found), (1, 1, 0));
        let wrong = compared(&array![[10.0, 0.0], [3.0, 2.0]], &array![[10.0, 0.0], [2.0, 3.0]]);
        assert_eq!((wrong.parity().agreeing, wrong.parity().ties), (1, 0));
    }

    #[test]
    fn a_third_class_is_no_tie_however_close_the_first_two_are() {
        let mut comparison = Comparison::new(0.1);
        comparison.add(array![[9.0, 9.0, 9.1]].view(), array![[10.0, 9.5, 8.2]].view(), None);
        assert_eq!((comparison.parity().ties, comparison.parity().agreeing), (0, 0));
        assert!((comparison.disagreeing()[0].margin - 0.18).abs() < 1e-6);
    }

    #[test]
    fn it_holds_when_all_agree_but_for_ties() {
        let found = Parity { images: 4, agreeing: 3, ties: 1, ..Parity::default() };
        let each = Tolerance::of_each;
        assert!(found.holds(each(1e-4)));
        assert!(!Parity { ties: 0, ..found }.holds(each(1e-4)));
        let apart = Parity { max_relative_difference: 2e-4, ..found };
        assert!(!apart.holds(each(1e-4)) && apart.holds(each(1e-2)));
        let everywhere = Parity { rms_relative_difference: 2e-5, ..found };
        assert!(everywhere.holds(each(1e-4)) && !everywhere.holds(Tolerance::new(1e-4, 1e-5)));
        let some = Tolerance { changed: 0.25, ..each(1e-4) };
        assert!(
            Parity { ties: 0, ..found }.holds(some) && !Parity { agreeing: 2, ties: 0, ..found }.holds(some)
        );
        assert!(!Parity::default().holds(each(1.0)), "nothing proves nothing");
    }

    #[test]
    fn not_a_number_is_infinitely_far() {
        let found = compared(&array![[f32::NAN, 0.0]], &array![[1.0, 0.0]]).parity();
        assert_eq!(found.max_relative_difference, f64::INFINITY);
        for [found, reference] in [[1.0, f32::INFINITY], [f32::INFINITY; 2], [f32::INFINITY, 1.0]] {
            let found = compared(&array![[found, 0.0]], &array![[reference, 0.0]]).parity();
            assert_eq!(found.max_relative_difference, f64::INFINITY);
        }
    }

    #[test]
    fn the_worst_logit_is_named() {
        let reference = array![[10.0, 0.0], [1.0, 2.0]];
        let worst = compared(&array![[10.0, 0.001], [1.5, 2.0]], &reference).worst();
        assert_eq!(worst, Some(Worst { image: 1, class: 0, found: 1.5, reference: 1.0 }));
    }
}
