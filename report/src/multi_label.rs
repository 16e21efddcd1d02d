//! Metrics of multi-label classifiers, in which any number of classes is right for an image.
//!
//! Definitions are scikit-learn's: a division by zero gives zero.

use serde::Serialize;

use crate::calibration::Calibration;
use crate::metrics::{Scores, ratio};
use crate::ranking::{Averages, Rankings};

/// Scores and truth of one image, a value for each class.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelScores {
    /// Probability of each class, in [0, 1].
    pub probabilities: Vec<f32>,
    /// True for each class that was selected.
    pub selected: Vec<bool>,
    /// True for each class that is right.
    pub actual: Vec<bool>,
}

/// Metrics of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LabelMetrics {
    /// Precision, recall and F1 of the selection.
    #[serde(flatten)]
    pub scores: Scores,
    /// Average precision: the area under the precision-recall curve in steps; none without an image of the class.
    pub average_precision: Option<f64>,
    /// Area under the ROC curve; none unless there are images with and without the class.
    pub roc_auc: Option<f64>,
}

/// Metrics of a multi-label classifier on a set of images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MultiLabel {
    /// Number of images.
    pub images: usize,
    /// Mean of the classes' average precisions (mAP), over the classes that occur; none if no class does.
    pub mean_average_precision: Option<f64>,
    /// Share of images whose selected classes are exactly the right ones.
    pub exact_match: f64,
    /// Share of wrong decisions among all images and classes (Hamming loss).
    pub hamming_loss: f64,
    /// Scores over all decisions together.
    pub micro_average: Scores,
    /// Mean of the scores of the classes that occur.
    pub macro_average: Scores,
    /// Mean of the scores of the classes, weighted by their images.
    pub weighted_average: Scores,
    /// Averages of the areas under the ROC curves.
    pub roc_auc: Averages,
    /// Averages of the average precisions; the macro-average is [`mean_average_precision`](Self::mean_average_precision).
    pub average_precision: Averages,
    /// Expected calibration error over all decisions, in [0, 1].
    pub calibration_error: f64,
    /// Number of classes without an image.
    pub classes_without_images: usize,
    /// Metrics of each class, in the order of the labels; not serialised, for their names are not here.
    #[serde(skip)]
    pub classes: Vec<LabelMetrics>,
}

/// Number of decisions by their outcome.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    hits: usize,
    selected: usize,
    actual: usize,
}

impl Counts {
    fn scores(self) -> Scores {
        Scores {
            precision: ratio(self.hits, self.selected),
            recall: ratio(self.hits, self.actual),
            f1: ratio(2 * self.hits, self.selected + self.actual),
            support: self.actual,
        }
    }
}

impl MultiLabel {
    /// Computes the metrics of `images` for a number of classes.
    ///
    /// # Panics
    /// When an image does not have a value for each class.
    pub fn new(classes: usize, images: &[LabelScores]) -> Self {
        let rankings = rankings(classes, images);
        let counts: Vec<Counts> = (0..classes).map(|class| counts(images, class)).collect();
        let metrics = |(class, counts): (usize, &Counts)| LabelMetrics {
            scores: counts.scores(),
            average_precision: rankings.classes[class].average_precision(),
            roc_auc: rankings.classes[class].roc_auc(),
        };
        let metrics: Vec<LabelMetrics> = counts.iter().enumerate().map(metrics).collect();
        let all = counts.iter().fold(Counts::default(), |sum, one| Counts {
            hits: sum.hits + one.hits,
            selected: sum.selected + one.selected,
            actual: sum.actual + one.actual,
        });
        let scores = metrics.iter().map(|one| one.scores);
        let wrong = |image: &LabelScores| {
            image.selected.iter().zip(&image.actual).filter(|(selected, actual)| selected != actual).count()
        };
        Self {
            images: images.len(),
            mean_average_precision: rankings.average_precision().macro_average,
            exact_match: ratio(images.iter().filter(|image| wrong(image) == 0).count(), images.len()),
            hamming_loss: ratio(images.iter().map(wrong).sum(), images.len() * classes),
            micro_average: all.scores(),
            macro_average: Scores::mean(scores.clone(), |_| 1.0),
            weighted_average: Scores::mean(scores.clone(), |scores| scores.support as f64),
            roc_auc: rankings.roc_auc(),
            average_precision: rankings.average_precision(),
            calibration_error: calibration(images).error,
            classes_without_images: scores.filter(|scores| scores.support == 0).count(),
            classes: metrics,
        }
    }
}

/// Ranks the images by the probability of each class.
pub fn rankings(classes: usize, images: &[LabelScores]) -> Rankings {
    let rows = images.iter().map(|image| &image.probabilities[..]);
    Rankings::new(classes, rows, |image, class| images[image].actual[class])
}

/// Computes the calibration of all decisions, an image and a class each.
pub fn calibration(images: &[LabelScores]) -> Calibration {
    let decisions = |image: &'_ LabelScores| {
        let pairs = image.probabilities.iter().zip(&image.actual);
        pairs.map(|(&probability, &actual)| (f64::from(probability), actual)).collect::<Vec<_>>()
    };
    Calibration::of(images.iter().flat_map(decisions))
}

fn counts(images: &[LabelScores], class: usize) -> Counts {
    let mut counts = Counts::default();
    for image in images {
        let (selected, actual) = (image.selected[class], image.actual[class]);
        counts.hits += usize::from(selected && actual);
        counts.selected += usize::from(selected);
        counts.actual += usize::from(actual);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<LabelScores> {
        let image = |probabilities: [f32; 3], actual: [bool; 3]| LabelScores {
            selected: probabilities.iter().map(|&probability| probability >= 0.5).collect(),
            probabilities: probabilities.into(),
            actual: actual.into(),
        };
        vec![
            image([0.9, 0.2, 0.6], [true, false, true]),
            image([0.8, 0.7, 0.1], [false, true, false]),
            image([0.4, 0.7, 0.3], [true, false, false]),
            image([0.1, 0.3, 0.2], [false, false, true]),
        ]
    }

    /// Right values by scikit-learn 1.9.1: `average_precision_score`, `precision_recall_fscore_support`, `accuracy_score`,
    /// `hamming_loss`.
    #[test]
    fn equal_to_scikit_learn() {
        let found = MultiLabel::new(3, &images());
        let close = |found: f64, right: f64| assert!((found - right).abs() < 1e-9, "{found} {right}");
        let average: Vec<f64> = found.classes.iter().filter_map(|class| class.average_precision).collect();
        [5.0 / 6.0, 0.5, 5.0 / 6.0].iter().zip(&average).for_each(|(right, found)| close(*found, *right));
        close(found.mean_average_precision.unwrap(), (5.0 / 6.0 + 0.5 + 5.0 / 6.0) / 3.0);
        close(found.exact_match, 0.25);
        close(found.hamming_loss, 4.0 / 12.0);
        close(found.micro_average.f1, 0.6);
        close(found.macro_average.precision, (0.5 + 0.5 + 1.0) / 3.0);
        close(found.macro_average.recall, (0.5 + 1.0 + 0.5) / 3.0);
        assert_eq!(found.classes[1].scores.support, 1);
    }

    #[test]
    fn a_class_that_does_not_occur_has_no_average_precision() {
        let mut images = images();
        images.iter_mut().for_each(|image| image.actual[1] = false);
        let found = MultiLabel::new(3, &images);
        assert_eq!(found.classes[1].average_precision, None);
        assert!((found.mean_average_precision.unwrap() - 5.0 / 6.0).abs() < 1e-9);
        assert_eq!(MultiLabel::new(3, &[]).mean_average_precision, None);
    }
}
