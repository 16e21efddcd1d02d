//! Calibration for int8: ranges of values on training images.

use std::collections::HashMap;

use ferronnx_models::Module;
use ferronnx_models::onnx::passes::Ranges;
use image::RgbImage;

use super::ExportError;
use super::reference::Reference;
use crate::params::to_array;

/// Number of images that ranges are taken from.
pub const CALIBRATION_IMAGES: usize = 128;

/// Method of finding the range of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Calibration {
    /// Minimum and maximum of the values.
    #[default]
    MinMax,
    /// Range without the lowest and the highest 0.001 % of the values: single outliers do not widen the steps of all others.
    Percentile,
}

impl Calibration {
    /// Fraction of values that is left out on either side.
    fn tail(self) -> f64 {
        match self {
            Self::MinMax => 0.0,
            Self::Percentile => 1e-5,
        }
    }
}

/// Number of bins: a few dozen in each of the 255 steps that values are rounded to.
const BINS: usize = 1 << 15;

/// Batch size: all values of all images are in memory.
const BATCH: usize = 8;

/// Finds the ranges of the values called `names` on `images`.
pub(super) fn ranges(
    reference: &Reference<'_, impl Module>,
    images: &[RgbImage],
    names: &[String],
    how: Calibration,
) -> Result<Ranges, ExportError> {
    let mut seen: HashMap<&str, Seen> = HashMap::new();
    for images in images.chunks(BATCH) {
        let values = reference.values(images)?;
        for name in names {
            if let Some(tensor) = values.get(name) {
                let array = to_array(tensor)?;
                let values = array.as_slice().unwrap_or_default();
                seen.entry(name).or_default().add(values, how.tail() > 0.0);
            }
        }
    }
    Ok(seen.into_iter().map(|(name, seen)| (name.to_owned(), seen.range(how.tail()))).collect())
}

/// Values seen so far.
#[derive(Default)]
struct Seen {
    /// Minimum; at most 0, which every range has to hold.
    least: f32,
    /// Maximum; at least 0.
    greatest: f32,
    counts: Counts,
}

impl Seen {
    fn add(&mut self, values: &[f32], count: bool) {
        self.least = values.iter().copied().fold(self.least, f32::min);
        self.greatest = values.iter().copied().fold(self.greatest, f32::max);
        if count {
            self.counts.reach(self.greatest.max(-self.least));
            values.iter().for_each(|&value| self.counts.add(value));
        }
    }

    /// Bounds that leave out a fraction `tail` of the values on either side.
    fn range(&self, tail: f64) -> (f32, f32) {
        let (low, high) = if tail > 0.0 { self.counts.range(tail) } else { (self.least, self.greatest) };
        (low.min(0.0).max(self.least), high.max(0.0).min(self.greatest))
    }
}

/// Histogram with equal bins on both sides of 0. The bins double in width when a value lies beyond them, so that one
/// pass is enough.
struct Counts {
    width: f32,
    bins: Vec<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { width: f32::MIN_POSITIVE, bins: vec![0; BINS] }
    }
}

impl Counts {
    /// Widens the bins for values up to `largest` on either side.
    fn reach(&mut self, largest: f32) {
        let half = BINS / 2;
        while largest.is_finite() && largest >= half as f32 * self.width {
            let mut bins = vec![0; BINS];
            if self.bins.iter().any(|&count| count > 0) {
                for (pair, count) in self.bins.chunks(2).zip(&mut bins[half / 2..]) {
                    *count = pair.iter().sum();
                }
            }
            *self = Self { width: 2.0 * self.width, bins };
        }
    }

    fn add(&mut self, value: f32) {
        let bin = (value / self.width).floor() + (BINS / 2) as f32;
        self.bins[(bin as usize).min(BINS - 1)] += 1;
    }

    fn range(&self, tail: f64) -> (f32, f32) {
        let total: u64 = self.bins.iter().sum();
        let most = (tail * total as f64) as u64;
        let outside = |bins: &mut dyn Iterator<Item = &u64>| {
            let mut seen = 0;
            bins.take_while(|&&count| {
                seen += count;
                seen <= most
            })
            .count()
        };
        let edge = |bin: usize| (bin as f32 - (BINS / 2) as f32) * self.width;
        (edge(outside(&mut self.bins.iter())), edge(BINS - outside(&mut self.bins.iter().rev())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: f64 = 1e-5;

    fn seen(parts: &[&[f32]]) -> Seen {
        let mut seen = Seen::default();
        parts.iter().for_each(|values| seen.add(values, true));
        seen
    }

    #[test]
    fn outliers_are_left_out_and_nothing_else() {
        let values: Vec<f32> = (0..100_000).map(|step| step as f32 / 100_000.0).collect();
        let seen = seen(&[&values, &[-10.0, 90.0]]);
        let (low, high) = seen.range(TAIL);
        assert!((low - 0.0).abs() < 0.01 && (high - 1.0).abs() < 0.01, "{low} {high}");
        assert_eq!(seen.range(0.0), (-10.0, 90.0));
    }

    #[test]
    fn steps_grow_with_the_values_and_lose_none() {
        let mut counts = Counts::default();
        for (value, times) in [(1e-6_f32, 3_u64), (-0.5, 5), (7.0, 2), (3e4, 1)] {
            counts.reach(value.abs());
            (0..times).for_each(|_| counts.add(value));
        }
        assert_eq!(counts.bins.iter().sum::<u64>(), 11);
        let (low, high) = counts.range(0.0);
        assert!((-0.5 - 2.0 * counts.width..=-0.5).contains(&low), "{low}");
        assert!((3e4..=3e4 + 2.0 * counts.width).contains(&high), "{high}");
        assert!(counts.width < 3e4 / 255.0 / 16.0, "{}", counts.width);
    }

    #[test]
    fn a_range_holds_zero_and_ends_where_the_values_do() {
        assert_eq!(seen(&[&[3.0, 3.0]]).range(TAIL), (0.0, 3.0));
        assert_eq!(seen(&[&[0.0; 4]]).range(TAIL), (0.0, 0.0));
        assert_eq!(seen(&[&[-2.0], &[-1.0]]).range(0.0), (-2.0, 0.0));
    }
}
