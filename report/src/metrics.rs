//! Metrics of a classifier: confusion matrix, scores per class, calibration, mistakes.

use std::iter;

use serde::Serialize;

/// Prediction for one image, with its true class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Index of the true class.
    pub actual: usize,
    /// Index of the predicted class.
    pub predicted: usize,
    /// Probability of the predicted class, in [0, 1].
    pub probability: f32,
}

impl Answer {
    /// Tells whether the prediction is right.
    pub fn is_correct(&self) -> bool {
        self.actual == self.predicted
    }
}

/// Confusion matrix: for each true class, how often each class was predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<usize>,
}

/// Scores of one class, or their means over all classes. A division by zero gives zero, as in scikit-learn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scores {
    /// Precision: TP / (TP + FP).
    pub precision: f64,
    /// Recall: TP / (TP + FN).
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Number of images of the class.
    pub support: usize,
}

impl Confusion {
    /// Counts `answers` for a number of classes.
    ///
    /// # Panics
    /// When an answer names a class that does not exist.
    pub fn new(classes: usize, answers: &[Answer]) -> Self {
        let mut counts = vec![0; classes * classes];
        for answer in answers {
            assert!(answer.predicted < classes, "there is no class {}", answer.predicted);
            counts[answer.actual * classes + answer.predicted] += 1;
        }
        Self { classes, counts }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of images of class `actual` that were predicted as `predicted`.
    pub fn count(&self, actual: usize, predicted: usize) -> usize {
        self.counts[actual * self.classes + predicted]
    }

    /// Number of images of a class.
    pub fn support(&self, actual: usize) -> usize {
        (0..self.classes).map(|predicted| self.count(actual, predicted)).sum()
    }

    /// Share of the images of class `actual` that were predicted as `predicted`, in [0, 1].
    pub fn share(&self, actual: usize, predicted: usize) -> f64 {
        ratio(self.count(actual, predicted), self.support(actual))
    }

    /// Accuracy: share of all images that were predicted correctly, in [0, 1].
    pub fn accuracy(&self) -> f64 {
        let correct = (0..self.classes).map(|class| self.count(class, class)).sum();
        ratio(correct, self.counts.iter().sum())
    }

    /// Scores of a class.
    pub fn scores(&self, class: usize) -> Scores {
        let (hits, support) = (self.count(class, class), self.support(class));
        let predicted = (0..self.classes).map(|actual| self.count(actual, class)).sum::<usize>();
        Scores {
            precision: ratio(hits, predicted),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, predicted + support),
            support,
        }
    }

    /// Mean scores over the classes, each class with the same weight (`macro avg`).
    pub fn macro_average(&self) -> Scores {
        let all: Vec<Scores> = (0..self.classes).map(|class| self.scores(class)).collect();
        let mean = |score: fn(&Scores) -> f64| match all.len() {
            0 => 0.0,
            classes => all.iter().map(score).sum::<f64>() / classes as f64,
        };
        Scores {
            precision: mean(|scores| scores.precision),
            recall: mean(|scores| scores.recall),
            f1: mean(|scores| scores.f1),
            support: self.counts.iter().sum(),
        }
    }

    /// Pairs `(actual, predicted)` of confused classes, the most frequent first.
    pub fn most_confused(&self) -> Vec<(usize, usize)> {
        let pairs = (0..self.classes).flat_map(|a| (0..self.classes).map(move |b| (a, b)));
        let mut pairs: Vec<_> = pairs.filter(|&(a, b)| a != b && self.count(a, b) > 0).collect();
        pairs.sort_by_key(|&(a, b)| std::cmp::Reverse(self.count(a, b)));
        pairs
    }

    /// Classes with their scores, the lowest F1 first.
    pub fn worst_first(&self) -> Vec<(usize, Scores)> {
        let mut all: Vec<_> = (0..self.classes).map(|class| (class, self.scores(class))).collect();
        all.sort_by(|(_, a), (_, b)| a.f1.total_cmp(&b.f1));
        all
    }
}

/// Calibration of a classifier: confidence compared with accuracy (Guo et al. 2017, arXiv:1706.04599).
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
        let mut sums = [(0, 0.0, 0); Self::BINS];
        for answer in answers {
            // A probability on the border of two bins belongs to the lower one.
            let step = (f64::from(answer.probability) * Self::BINS as f64).ceil() as usize;
            let (images, confidence, right) = &mut sums[step.clamp(1, Self::BINS) - 1];
            *images += 1;
            *confidence += f64::from(answer.probability);
            *right += usize::from(answer.is_correct());
        }
        let bin = |(images, confidence, right): (usize, f64, usize)| CalibrationBin {
            images,
            confidence: if images == 0 { 0.0 } else { confidence / images as f64 },
            accuracy: ratio(right, images),
        };
        let bins: Vec<_> = sums.into_iter().map(bin).collect();
        let distance =
            |bin: &CalibrationBin| (bin.confidence - bin.accuracy).abs() * ratio(bin.images, answers.len());
        Self { error: bins.iter().map(distance).sum(), bins }
    }
}

/// Quotient, or zero when `whole` is zero.
pub(crate) fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Indices of the wrong answers, the most confident first and ties in order.
pub fn mistakes(answers: &[Answer]) -> Vec<usize> {
    let mut wrong: Vec<usize> =
        iter::zip(0.., answers).filter(|(_, answer)| !answer.is_correct()).map(|(index, _)| index).collect();
    wrong.sort_by(|&a, &b| answers[b].probability.total_cmp(&answers[a].probability));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(pairs: &[(usize, usize)]) -> Vec<Answer> {
        let answer = |&(actual, predicted)| Answer { actual, predicted, probability: 0.5 };
        pairs.iter().map(answer).collect()
    }

    #[test]
    fn scores_are_those_computed_by_hand() {
        // Class 0: 2 of 3 found, 1 foreign. Class 1: 1 of 2 found, 1 foreign.
        let confusion = Confusion::new(2, &answers(&[(0, 0), (0, 0), (0, 1), (1, 1), (1, 0)]));
        assert_eq!((confusion.count(0, 1), confusion.count(1, 0), confusion.support(0)), (1, 1, 3));
        assert_eq!(confusion.accuracy(), 0.6);
        assert_eq!(confusion.share(0, 0), 2.0 / 3.0);
        let first = confusion.scores(0);
        assert_eq!((first.precision, first.recall, first.support), (2.0 / 3.0, 2.0 / 3.0, 3));
        let second = confusion.scores(1);
        assert_eq!((second.precision, second.recall, second.f1), (0.5, 0.5, 0.5));
        let mean = confusion.macro_average();
        assert!((mean.f1 - 7.0 / 12.0).abs() < 1e-12);
        assert_eq!(mean.support, 5);
        assert_eq!(confusion.worst_first()[0].0, 1);
        assert_eq!(confusion.most_confused(), [(0, 1), (1, 0)]);
    }

    #[test]
    fn precision_and_recall_differ_where_they_should() {
        // Class 0 takes everything: it is always found, and right in a quarter of the cases.
        let confusion = Confusion::new(2, &answers(&[(0, 0), (1, 0), (1, 0), (1, 0)]));
        let greedy = confusion.scores(0);
        assert_eq!((greedy.precision, greedy.recall, greedy.f1), (0.25, 1.0, 0.4));
    }

    #[test]
    fn a_quotient_by_zero_is_zero() {
        let confusion = Confusion::new(3, &answers(&[(0, 0), (0, 1)]));
        let never_there = Scores { precision: 0.0, recall: 0.0, f1: 0.0, support: 0 };
        assert_eq!(confusion.scores(1), never_there);
        assert_eq!(confusion.scores(2), never_there);
        assert_eq!(confusion.share(2, 2), 0.0);
        assert_eq!(Confusion::new(2, &[]).accuracy(), 0.0);
        assert_eq!(Confusion::new(0, &[]).macro_average(), never_there);
    }

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

    #[test]
    fn the_most_confident_mistake_comes_first_and_of_equals_the_earlier() {
        let answer = |actual, predicted, probability| Answer { actual, predicted, probability };
        let all =
            [answer(0, 1, 0.6), answer(0, 0, 0.99), answer(1, 0, 0.9), answer(1, 2, 0.6), answer(2, 0, 0.9)];
        assert_eq!(mistakes(&all), [2, 4, 0, 3]);
    }
}
