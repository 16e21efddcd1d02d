//! Probabilities of all classes for labelled images, and the metrics that need them.

use std::sync::OnceLock;

use crate::ranking::Rankings;

/// Probabilities of every class for images with exactly one true class.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scored {
    classes: usize,
    /// Probabilities `[N, classes]`, image by image.
    probabilities: Vec<f32>,
    /// True class of each image.
    actual: Vec<usize>,
    /// Sum of the negative log-likelihoods.
    loss: f64,
    /// Sum of the squared differences.
    squared: f64,
    /// Curves, once they have been asked for.
    rankings: OnceLock<Rankings>,
}

impl Scored {
    /// Holds no image yet, of a number of classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, ..Self::default() }
    }

    /// Adds an image with the probability of each class and its true class.
    ///
    /// # Panics
    /// When there is no class `actual`, or not a probability for each class.
    pub fn add(&mut self, probabilities: &[f64], actual: usize) {
        assert_eq!(probabilities.len(), self.classes, "a probability for each class");
        self.rankings.take();
        self.loss -= probabilities[actual].ln();
        let truth = |class: usize| if class == actual { 1.0 } else { 0.0 };
        let squares = probabilities.iter().enumerate().map(|(class, p)| (p - truth(class)).powi(2));
        self.squared += squares.sum::<f64>();
        self.probabilities.extend(probabilities.iter().map(|&probability| probability as f32));
        self.actual.push(actual);
    }

    /// Mean negative log-likelihood of the true classes, in nats; `None` without images, or when a true class was given
    /// a probability of 0.
    pub fn negative_log_likelihood(&self) -> Option<f64> {
        let mean = self.loss / self.actual.len() as f64;
        mean.is_finite().then_some(mean)
    }

    /// Brier score: mean over images of the squared differences between probabilities and truth, summed over classes, in
    /// [0, 2]; with two classes half of it, in [0, 1], as in scikit-learn. `None` without images.
    pub fn brier_score(&self) -> Option<f64> {
        let scale = if self.classes == 2 { 0.5 } else { 1.0 };
        let images = self.actual.len();
        (images > 0).then(|| scale * self.squared / images as f64)
    }

    /// ROC and precision-recall curves of each class against the rest; computed at the first call.
    pub fn rankings(&self) -> &Rankings {
        self.rankings.get_or_init(|| {
            let rows = self.probabilities.chunks_exact(self.classes.max(1));
            Rankings::new(self.classes, rows, |image, class| self.actual[image] == class)
        })
    }
}
