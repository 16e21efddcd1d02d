//! How far a file's logits are from libtorch's: when it is exported, and wherever it is verified.

use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

/// What was found when a file and libtorch looked at the same images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Parity {
    /// Images compared.
    #[serde(rename = "pictures")]
    pub images: usize,
    /// Largest difference between two logits.
    pub max_difference: f64,
    /// Mean difference between two logits.
    pub mean_difference: f64,
    /// Largest difference, relative to the largest logit.
    pub max_relative_difference: f64,
    /// Images for which both name the same class.
    pub agreeing: usize,
    /// Images for which they do not, but whose two classes are closer than the tolerance in libtorch.
    pub ties: usize,
}

impl Parity {
    /// Whether the logits of every image are within `tolerance`, and the classes the same but for ties. Nothing
    /// compared is nothing shown.
    pub fn holds(&self, tolerance: f64) -> bool {
        self.images > 0
            && self.max_relative_difference <= tolerance
            && self.agreeing + self.ties == self.images
    }
}

/// Collects what a file and libtorch say of the same images.
#[derive(Debug, Default)]
pub struct Comparison {
    tolerance: f64,
    parity: Parity,
    values: usize,
    disagreeing: Vec<Disagreement>,
    worst: Option<Worst>,
    right: [usize; 2],
}

/// An image for which the file names another class than libtorch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disagreement {
    /// Position of the image among those compared.
    pub image: usize,
    /// The class that libtorch names.
    pub reference: usize,
    /// The class that the file names.
    pub found: usize,
    /// Distance of the two classes in libtorch, relative to the largest logit.
    pub margin: f64,
}

/// The logit that is farthest from libtorch's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Worst {
    /// Position of the image among those compared.
    #[serde(rename = "picture")]
    pub image: usize,
    /// The class of the logit.
    pub class: usize,
    /// The file's logit.
    pub found: f32,
    /// libtorch's.
    pub reference: f32,
}

impl Comparison {
    /// Before the first image; what is closer than `tolerance`, relative to the largest logit, is a tie.
    pub fn new(tolerance: f64) -> Self {
        Self { tolerance, ..Self::default() }
    }

    /// Adds a batch: logits `[N, classes]` of the file and of libtorch, and the classes where they are known.
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
        // NaN compares as smaller than everything, and of infinity everything is a small part: neither must pass.
        let finite = relative.is_finite() && scale.is_finite();
        let [difference, relative] = if finite { [difference, relative] } else { [f64::INFINITY; 2] };
        let parity = &mut self.parity;
        if relative > parity.max_relative_difference || self.worst.is_none() {
            self.worst = Some(value);
        }
        parity.max_difference = parity.max_difference.max(difference);
        parity.max_relative_difference = parity.max_relative_difference.max(relative);
        self.values += 1;
        parity.mean_difference += (difference - parity.mean_difference) / self.values as f64;
    }

    /// The logit that is farthest from libtorch's, relative to the largest of its batch.
    pub fn worst(&self) -> Option<Worst> {
        self.worst
    }

    /// What was found so far.
    pub fn parity(&self) -> Parity {
        self.parity
    }

    /// The images for which the two name different classes.
    pub fn disagreeing(&self) -> &[Disagreement] {
        &self.disagreeing
    }

    /// How many images libtorch and the file are right about, of those whose class is known.
    pub fn right(&self) -> [usize; 2] {
        self.right
    }
}

/// Index of the largest value.
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
        assert!(found.holds(1e-4));
        assert!(!Parity { ties: 0, ..found }.holds(1e-4));
        let apart = Parity { max_relative_difference: 2e-4, ..found };
        assert!(!apart.holds(1e-4) && apart.holds(1e-2));
        assert!(!Parity::default().holds(1.0), "nothing proves nothing");
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
