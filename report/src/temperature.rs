//! Temperature scaling: one number that makes probabilities match reality (Guo et al. 2017,
//! <https://arxiv.org/abs/1706.04599>).
//!
//! Logits are divided by a temperature before softmax or sigmoid. It does not change the order of an image's classes.

use crate::activation::{most_likely, sigmoid, softmax};
use crate::calibration::Calibration;

/// Lowest and highest temperature of a [`fit`](Logits::fit).
pub const TEMPERATURES: [f64; 2] = [0.05, 20.0];

/// Number of images below which a fitted temperature depends on chance.
pub const FEW_IMAGES: usize = 100;

/// Logits of labelled images.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a> {
    /// Number of classes.
    pub classes: usize,
    /// Logits `[N, classes]`, image by image; all are finite.
    pub values: &'a [f32],
    /// True classes.
    pub truth: Truth<'a>,
}

/// True classes of images.
#[derive(Debug, Clone, Copy)]
pub enum Truth<'a> {
    /// Index of the one true class of each image, `[N]`: probabilities are the softmax of logits.
    Class(&'a [usize]),
    /// Truth of each class for each image, `[N, classes]`: probabilities are the sigmoid of each logit.
    Labels(&'a [bool]),
}

/// Reasons why no temperature can be fitted.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum TemperatureError {
    /// There are no images.
    #[error("there are no images to fit a temperature on")]
    NoImages,
    /// A logit is infinite or NaN.
    #[error("a logit is not finite: no temperature can be fitted")]
    NotFinite,
    /// The likelihood still grows at the lowest temperature.
    #[error(
        "the likelihood of the {images} images grows down to the lowest temperature, {}: nearly all are classified \
         right, and more images with mistakes are needed", TEMPERATURES[0]
    )]
    Lowest {
        /// Number of images.
        images: usize,
    },
    /// The likelihood still grows at the highest temperature.
    #[error(
        "the likelihood of the {images} images grows up to the highest temperature, {}: the logits say nothing about \
         the classes", TEMPERATURES[1]
    )]
    Highest {
        /// Number of images.
        images: usize,
    },
}

/// Mean negative log-likelihood at an inverse temperature, with its first and second derivative.
#[derive(Debug, Clone, Copy, Default)]
struct Loss {
    value: f64,
    slope: f64,
    curvature: f64,
}

impl Logits<'_> {
    /// Fits the temperature that minimises the negative log-likelihood.
    ///
    /// The loss is convex in the inverse temperature, so its minimum is where the slope is zero: Newton's method, kept
    /// between bounds by bisection.
    ///
    /// # Errors
    /// [`TemperatureError`] when there is no minimum within [`TEMPERATURES`].
    pub fn fit(&self) -> Result<f64, TemperatureError> {
        let images = self.images();
        if images == 0 {
            return Err(TemperatureError::NoImages);
        }
        if !self.values.iter().all(|logit| logit.is_finite()) {
            return Err(TemperatureError::NotFinite);
        }
        let [mut high, mut low] = TEMPERATURES.map(f64::recip);
        if self.loss(high).slope <= 0.0 {
            return Err(TemperatureError::Lowest { images });
        }
        if self.loss(low).slope >= 0.0 {
            return Err(TemperatureError::Highest { images });
        }
        let (mut inverse, mut last) = (1.0, f64::INFINITY);
        // Bisection alone takes 60 steps from these bounds to the last bit.
        for _ in 0..200 {
            let Loss { slope, curvature, .. } = self.loss(inverse);
            if slope > 0.0 {
                high = inverse;
            } else {
                low = inverse;
            }
            let newton = inverse - slope / curvature;
            if (newton - inverse).abs() <= 1e-12 * inverse || high - low <= 1e-12 * inverse {
                break;
            }
            // A step that does not halve the slope could be part of a cycle.
            let trusted = newton > low && newton < high && slope.abs() <= last / 2.0;
            inverse = if trusted { newton } else { (low + high) / 2.0 };
            last = slope.abs();
        }
        Ok(inverse.recip())
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.values.len() / self.classes.max(1)
    }

    /// Mean negative log-likelihood of the truth at a temperature, in nats: for one label an image, of its class; for
    /// several, the mean over all decisions.
    pub fn negative_log_likelihood(&self, temperature: f64) -> f64 {
        self.loss(temperature.recip()).value
    }

    /// Calibration at a temperature: of the most probable class; with several labels an image, of all decisions.
    pub fn calibration(&self, temperature: f64) -> Calibration {
        match self.truth {
            Truth::Class(actual) => Calibration::of(self.rows().zip(actual).map(|(row, &actual)| {
                let probabilities = softmax(row, temperature);
                let best = most_likely(row);
                (probabilities[best], best == actual)
            })),
            Truth::Labels(actual) => Calibration::of(
                self.values
                    .iter()
                    .zip(actual)
                    .map(|(&logit, &right)| (sigmoid(f64::from(logit) / temperature), right)),
            ),
        }
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.classes.max(1))
    }

    /// Mean loss at an inverse temperature.
    fn loss(&self, inverse: f64) -> Loss {
        let (terms, count): (Box<dyn Iterator<Item = Loss>>, _) = match self.truth {
            Truth::Class(actual) => {
                let terms =
                    self.rows().zip(actual).map(move |(row, &actual)| cross_entropy(row, actual, inverse));
                (Box::new(terms), actual.len())
            }
            Truth::Labels(actual) => {
                let terms = self.values.iter().zip(actual);
                (
                    Box::new(terms.map(move |(&logit, &right)| binary_cross_entropy(logit, right, inverse))),
                    actual.len(),
                )
            }
        };
        let sum = terms.fold(Loss::default(), |sum, term| Loss {
            value: sum.value + term.value,
            slope: sum.slope + term.slope,
            curvature: sum.curvature + term.curvature,
        });
        let mean = |sum: f64| sum / count as f64;
        Loss { value: mean(sum.value), slope: mean(sum.slope), curvature: mean(sum.curvature) }
    }
}

/// Cross-entropy of one image: `ln(sum(exp(b x))) - b x[actual]` at the inverse temperature `b`.
fn cross_entropy(logits: &[f32], actual: usize, inverse: f64) -> Loss {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    // Logits relative to the largest: nothing overflows, and the derivatives are the same.
    let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
    for &logit in logits {
        let logit = f64::from(logit) - largest;
        let power = (inverse * logit).exp();
        sum += power;
        first += power * logit;
        second += power * logit * logit;
    }
    let (mean, right) = (first / sum, f64::from(logits[actual]) - largest);
    Loss { value: sum.ln() - inverse * right, slope: mean - right, curvature: second / sum - mean * mean }
}

/// Binary cross-entropy of one decision at the inverse temperature `inverse`.
fn binary_cross_entropy(logit: f32, right: bool, inverse: f64) -> Loss {
    let logit = f64::from(logit);
    // -ln(sigmoid(z)) = max(-z, 0) + ln(1 + exp(-|z|)), with the sign of the truth.
    let scaled = if right { inverse * logit } else { -inverse * logit };
    let probability = sigmoid(inverse * logit);
    Loss {
        value: (-scaled).max(0.0) + (-scaled.abs()).exp().ln_1p(),
        slope: (probability - if right { 1.0 } else { 0.0 }) * logit,
        curvature: probability * (1.0 - probability) * logit * logit,
    }
}

/// Moves a threshold on probabilities to where the same decisions are made after division of logits by `temperature`:
/// `sigmoid(logit(threshold) / temperature)`.
pub fn moved_threshold(threshold: f64, temperature: f64) -> f64 {
    sigmoid((threshold / (1.0 - threshold)).ln() / temperature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(values: &[f32], actual: &[usize]) -> Result<f64, TemperatureError> {
        Logits { classes: 2, values, truth: Truth::Class(actual) }.fit()
    }

    #[test]
    fn a_known_share_of_mistakes_gives_the_temperature() {
        // Three of four images are right: the best probability is 0.75, whose logit is ln 3.
        let found = fitted(&[2.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0], &[0, 0, 0, 1]).unwrap();
        assert!((found - 2.0 / 3f64.ln()).abs() < 1e-9, "{found}");
        // The same with large logits, from which Newton's method alone runs away.
        let large = [600.0, 0.0].repeat(4);
        assert_eq!(fitted(&large, &[0, 0, 0, 1]).unwrap_err(), TemperatureError::Highest { images: 4 });
        let found = fitted(&[20.0, 0.0].repeat(4), &[0, 0, 0, 1]).unwrap();
        assert!((found - 20.0 / 3f64.ln()).abs() < 1e-9, "{found}");
    }

    #[test]
    fn a_fit_without_a_minimum_is_refused() {
        assert_eq!(fitted(&[], &[]), Err(TemperatureError::NoImages));
        assert_eq!(fitted(&[1.0, f32::NAN], &[0]), Err(TemperatureError::NotFinite));
        assert_eq!(fitted(&[1.0, 0.0], &[0]), Err(TemperatureError::Lowest { images: 1 }));
        assert_eq!(fitted(&[1.0, 0.0], &[1]), Err(TemperatureError::Highest { images: 1 }));
        assert_eq!(fitted(&[1.0, 1.0], &[1]), Err(TemperatureError::Lowest { images: 1 }), "equal logits");
    }

    #[test]
    fn a_moved_threshold_makes_the_same_decisions() {
        for (logit, threshold) in [(0.3_f64, 0.55), (-2.0, 0.1), (4.0, 0.99), (0.0, 0.5)] {
            let moved = moved_threshold(threshold, 2.5);
            assert_eq!(sigmoid(logit) >= threshold, sigmoid(logit / 2.5) >= moved, "{logit} {threshold}");
        }
        assert_eq!([0.0, 0.5, 1.0].map(|threshold| moved_threshold(threshold, 3.0)), [0.0, 0.5, 1.0]);
    }
}
