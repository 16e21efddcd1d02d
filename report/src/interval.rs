//! Confidence intervals of shares such as an accuracy.

use serde::Serialize;

/// Confidence level of [`Interval::wilson`], in [0, 1].
pub const CONFIDENCE_LEVEL: f64 = 0.95;

/// Quantile of the standard normal distribution for [`CONFIDENCE_LEVEL`], two-sided.
const QUANTILE: f64 = 1.959_963_984_540_054;

/// Confidence interval of a share, within [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Confidence level, in [0, 1].
    pub level: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// Computes the Wilson score interval of `part` of `whole` at the 95 % level (Wilson 1927,
    /// <https://doi.org/10.1080/01621459.1927.10502953>); `None` when `whole` is 0.
    pub fn wilson(part: usize, whole: usize) -> Option<Self> {
        if whole == 0 {
            return None;
        }
        let (n, share) = (whole as f64, part as f64 / whole as f64);
        let squared = QUANTILE * QUANTILE / n;
        let centre = share + squared / 2.0;
        let reach = QUANTILE * (share * (1.0 - share) / n + squared / (4.0 * n)).sqrt();
        let bound = |value: f64| (value / (1.0 + squared)).clamp(0.0, 1.0);
        // Rounding must not leave out the ends that the formula reaches exactly.
        let low = if part == 0 { 0.0 } else { bound(centre - reach) };
        let high = if part == whole { 1.0 } else { bound(centre + reach) };
        Some(Self { level: CONFIDENCE_LEVEL, low, high })
    }
}
