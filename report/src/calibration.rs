//! Calibration of probabilities: confidence compared with accuracy.

use serde::Serialize;

use crate::metrics::{Answer, ratio};

/// Calibration of a classifier: confidence compared with accuracy (Guo et al. 2017, <https://arxiv.org/abs/1706.04599>).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error, in [0, 1]: mean difference of confidence and accuracy, weighted by images.
    pub error: f64,
    /// Bins of equal width, for confidence from 0 to 1.
    pub bins: Vec<CalibrationBin>,
}

/// Images whose confidence lies in one bin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct CalibrationBin {
    /// Number of images.
    #[serde(rename = "pictures")]
    pub images: usize,
    /// Mean probability of the predicted class, in [0, 1].
    pub confidence: f64,
    /// Share of right predictions, in [0, 1].
    pub accuracy: f64,
}

impl Calibration {
    /// Number of bins, as in the paper.
    pub const BINS: usize = 15;

    /// Computes the calibration of `answers`.
    pub fn new(answers: &[Answer]) -> Self {
        Self::of(answers.iter().map(|answer| (answer.probability.into(), answer.is_correct())))
    }

    /// Computes the calibration of events, each with the probability it was given, in [0, 1], and whether it occurred.
    pub fn of(events: impl IntoIterator<Item = (f64, bool)>) -> Self {
        let mut sums = [(0, 0.0, 0); Self::BINS];
        for (probability, occurred) in events {
            // A probability on the border of two bins belongs to the lower one.
            let step = (probability * Self::BINS as f64).ceil() as usize;
            let (images, confidence, right) = &mut sums[step.clamp(1, Self::BINS) - 1];
            *images += 1;
            *confidence += probability;
            *right += usize::from(occurred);
        }
        let bin = |(images, confidence, right): (usize, f64, usize)| CalibrationBin {
            images,
            confidence: if images == 0 { 0.0 } else { confidence / images as f64 },
            accuracy: ratio(right, images),
        };
        let bins: Vec<_> = sums.into_iter().map(bin).collect();
        let all = bins.iter().map(|bin| bin.images).sum();
        let distance = |bin: &CalibrationBin| (bin.confidence - bin.accuracy).abs() * ratio(bin.images, all);
        Self { error: bins.iter().map(distance).sum(), bins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_is_that_computed_by_hand() {
        let answer = |predicted, probability| Answer { actual: 0, predicted, probability };
        // In the step that ends at 0.6: confidence 0.57, accuracy 0.5. In the last: confidence 0.99, accuracy 1.
        let answers = [answer(0, 0.55), answer(1, 0.59), answer(0, 0.98), answer(0, 1.0)];
        let calibration = Calibration::new(&answers);
        assert!((calibration.error - (0.5 * 0.07 + 0.5 * 0.01)).abs() < 1e-6, "{calibration:?}");
        assert_eq!(calibration.bins[8].images, 2);
        assert_eq!(calibration.bins[14].accuracy, 1.0);
        assert_eq!(Calibration::new(&[]).error, 0.0);
        assert_eq!(Calibration::new(&[answer(0, 0.0)]).error, 1.0);
    }
}
