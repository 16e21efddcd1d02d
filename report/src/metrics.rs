//! Metrics of a classifier: confusion matrix, scores per class, mistakes.

use std::iter;

use serde::ser::{Serialize, SerializeStruct, Serializer};

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

/// Scores of one class, or their means over the classes that have images.
///
/// A division by zero gives zero, as in scikit-learn. Without images the scores are undefined: they serialise as `null`.
#[derive(Debug, Clone, Copy, PartialEq)]
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

impl Scores {
    /// Precision, recall and F1; `None` for a class without images, of which they say nothing.
    pub fn defined(&self) -> Option<[f64; 3]> {
        (self.support > 0).then_some([self.precision, self.recall, self.f1])
    }

    /// Means of the scores of classes that have images, weighted by `weight`.
    pub(crate) fn mean(classes: impl Iterator<Item = Self> + Clone, weight: fn(&Self) -> f64) -> Self {
        let found = || classes.clone().filter(|scores| scores.support > 0);
        let total: f64 = found().map(|scores| weight(&scores)).sum();
        let mean = |score: fn(&Self) -> f64| match total > 0.0 {
            true => found().map(|scores| weight(&scores) * score(&scores)).sum::<f64>() / total,
            false => 0.0,
        };
        Self {
            precision: mean(|scores| scores.precision),
            recall: mean(|scores| scores.recall),
            f1: mean(|scores| scores.f1),
            support: classes.map(|scores| scores.support).sum(),
        }
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [precision, recall, f1] = self.defined().map_or([None; 3], |scores| scores.map(Some));
        let mut fields = serializer.serialize_struct("Scores", 4)?;
        fields.serialize_field("precision", &precision)?;
        fields.serialize_field("recall", &recall)?;
        fields.serialize_field("f1", &f1)?;
        fields.serialize_field("support", &self.support)?;
        fields.end()
    }
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
        ratio(self.correct(), self.counts.iter().sum())
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

    /// Number of correct predictions.
    pub fn correct(&self) -> usize {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// Number of classes that have no image.
    pub fn classes_without_images(&self) -> usize {
        (0..self.classes).filter(|&class| self.support(class) == 0).count()
    }

    /// Mean scores over the classes that have images, each class with the same weight (`macro avg`).
    pub fn macro_average(&self) -> Scores {
        Scores::mean(self.all_scores().iter().copied(), |_| 1.0)
    }

    /// Mean scores over the classes, weighted by their images (`weighted avg`).
    pub fn weighted_average(&self) -> Scores {
        Scores::mean(self.all_scores().iter().copied(), |scores| scores.support as f64)
    }

    fn all_scores(&self) -> Vec<Scores> {
        (0..self.classes).map(|class| self.scores(class)).collect()
    }

    /// Pairs `(actual, predicted)` of confused classes, the most frequent first.
    pub fn most_confused(&self) -> Vec<(usize, usize)> {
        let pairs = (0..self.classes).flat_map(|a| (0..self.classes).map(move |b| (a, b)));
        let mut pairs: Vec<_> = pairs.filter(|&(a, b)| a != b && self.count(a, b) > 0).collect();
        pairs.sort_by_key(|&(a, b)| std::cmp::Reverse(self.count(a, b)));
        pairs
    }

    /// Classes with their scores, the lowest F1 first and those without images last.
    pub fn worst_first(&self) -> Vec<(usize, Scores)> {
        let mut all: Vec<_> = (0..self.classes).map(|class| (class, self.scores(class))).collect();
        let key = |scores: &Scores| if scores.support == 0 { f64::INFINITY } else { scores.f1 };
        all.sort_by(|(_, a), (_, b)| key(a).total_cmp(&key(b)));
        all
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
        let weighted = confusion.weighted_average();
        assert!((weighted.precision - (3.0 * 2.0 / 3.0 + 2.0 * 0.5) / 5.0).abs() < 1e-12);
        assert!((weighted.recall - confusion.accuracy()).abs() < 1e-12, "by definition");
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
    fn a_class_without_images_is_undefined_and_in_no_average() {
        // Class 2 has no image, although it was predicted once.
        let confusion = Confusion::new(3, &answers(&[(0, 0), (0, 2), (1, 1)]));
        assert_eq!(confusion.classes_without_images(), 1);
        assert_eq!(confusion.scores(2).defined(), None);
        assert_eq!(confusion.macro_average().recall, 0.75);
        assert_eq!(confusion.worst_first().last().map(|(class, _)| *class), Some(2));
        let json = serde_json::to_string(&confusion.scores(2)).unwrap();
        assert_eq!(json, r#"{"precision":null,"recall":null,"f1":null,"support":0}"#);
        let json = serde_json::to_string(&confusion.scores(1)).unwrap();
        assert_eq!(json, r#"{"precision":1.0,"recall":1.0,"f1":1.0,"support":1}"#);
    }

    #[test]
    fn the_most_confident_mistake_comes_first_and_of_equals_the_earlier() {
        let answer = |actual, predicted, probability| Answer { actual, predicted, probability };
        let all =
            [answer(0, 1, 0.6), answer(0, 0, 0.99), answer(1, 0, 0.9), answer(1, 2, 0.6), answer(2, 0, 0.9)];
        assert_eq!(mistakes(&all), [2, 4, 0, 3]);
    }
}
