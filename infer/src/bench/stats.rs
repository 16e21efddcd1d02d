//! Statistics of measured times.

use serde::{Deserialize, Serialize};

/// Statistics of latencies, in milliseconds; percentiles are interpolated linearly, as NumPy's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub mean: f64,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latency {
    /// Computes the statistics of at least one sample, in any order.
    pub fn of(samples: &[f64]) -> Self {
        let sorted = sorted(samples);
        let percentile = |share| percentile(&sorted, share);
        Self {
            mean: samples.iter().sum::<f64>() / samples.len() as f64,
            min: percentile(0.0),
            p50: percentile(0.5),
            p90: percentile(0.9),
            p95: percentile(0.95),
            p99: percentile(0.99),
            max: percentile(1.0),
        }
    }
}

/// Sorts samples in ascending order.
pub fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Percentile of sorted samples; `share` is in [0, 1].
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

/// Tells whether a measurement has neither a trend nor much noise.
///
/// The medians of the first and second half of the samples must be within 5 % of each other, and the middle half of all
/// samples must span at most 10 % of the median.
pub fn is_stable(samples: &[f64]) -> bool {
    if samples.len() < 2 {
        return false;
    }
    let (first, second) = samples.split_at(samples.len() / 2);
    let [first, second] = [first, second].map(|half| percentile(&sorted(half), 0.5));
    let all = sorted(samples);
    let [low, median, high] = [0.25, 0.5, 0.75].map(|share| percentile(&all, share));
    (first - second).abs() <= 0.05 * median && high - low <= 0.1 * median
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        let latency = Latency::of(&samples);
        // numpy.percentile([4, 1, 3, 2], [50, 90, 95, 99])
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        close(latency.p50, 2.5);
        close(latency.p90, 3.7);
        close(latency.p95, 3.85);
        close(latency.p99, 3.97);
        assert_eq!((latency.min, latency.mean, latency.max), (1.0, 2.5, 4.0));
        assert_eq!(Latency::of(&[7.0]).p99, 7.0);
    }

    #[test]
    fn a_trend_and_noise_are_not_stable() {
        let steady: Vec<f64> = (0..100).map(|i| 10.0 + 0.1 * f64::from(i % 5)).collect();
        assert!(is_stable(&steady));
        let outliers: Vec<f64> = (0..100).map(|i| if i % 20 == 0 { 50.0 } else { 10.0 }).collect();
        assert!(is_stable(&outliers), "p99 shows them");
        let warming: Vec<f64> = (0..100).map(|i| if i < 50 { 12.0 } else { 10.0 }).collect();
        assert!(!is_stable(&warming));
        let noisy: Vec<f64> = (0..100).map(|i| if i % 2 == 0 { 12.0 } else { 10.0 }).collect();
        assert!(!is_stable(&noisy));
        assert!(!is_stable(&[1.0]));
    }
}
