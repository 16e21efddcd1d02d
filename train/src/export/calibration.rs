//! Ranges of values, as training pictures show them: what quantisation goes by.

use std::collections::HashMap;

use image::RgbImage;
use models::Module;
use models::onnx::passes::Ranges;

use super::ExportError;
use super::reference::Reference;
use crate::params::to_array;

/// How the range of a value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Calibration {
    /// The least and the greatest that was seen.
    #[default]
    MinMax,
    /// All but one in 100,000 on either side: single outliers do not widen the steps of all others.
    Percentile,
}

/// What [`Calibration::Percentile`] leaves out on either side.
const TAIL: f64 = 1e-5;

/// Steps in which values are counted.
const BINS: usize = 1 << 14;

/// Pictures that are looked at together: all values of all of them are in memory.
const BATCH: usize = 8;

/// Ranges of the values called `names` on `pictures`.
pub(super) fn ranges(
    reference: &Reference<'_, impl Module>,
    pictures: &[RgbImage],
    names: &[String],
    how: Calibration,
) -> Result<Ranges, ExportError> {
    let mut ranges = Ranges::new();
    each(reference, pictures, names, |name, values| {
        let (low, high) = ranges.entry(name.into()).or_insert((f32::INFINITY, f32::NEG_INFINITY));
        for &value in values {
            *low = low.min(value);
            *high = high.max(value);
        }
    })?;
    if how == Calibration::Percentile {
        let mut counts: HashMap<String, Counts> =
            ranges.iter().map(|(name, range)| (name.clone(), Counts::new(*range))).collect();
        each(reference, pictures, names, |name, values| {
            if let Some(counts) = counts.get_mut(name) {
                values.iter().for_each(|&value| counts.add(value));
            }
        })?;
        ranges = counts.into_iter().map(|(name, counts)| (name, counts.range(TAIL))).collect();
    }
    Ok(ranges)
}

/// Calls `see` with the values of each of `names` on every picture.
fn each(
    reference: &Reference<'_, impl Module>,
    pictures: &[RgbImage],
    names: &[String],
    mut see: impl FnMut(&str, &[f32]),
) -> Result<(), ExportError> {
    for pictures in pictures.chunks(BATCH) {
        let values = reference.values(pictures)?;
        for name in names {
            if let Some(tensor) = values.get(name) {
                let array = to_array(tensor)?;
                see(name, array.as_slice().unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// How often values were seen between two bounds.
struct Counts {
    low: f32,
    width: f32,
    bins: Vec<u64>,
}

impl Counts {
    fn new((low, high): (f32, f32)) -> Self {
        Self { low, width: ((high - low) / BINS as f32).max(f32::MIN_POSITIVE), bins: vec![0; BINS] }
    }

    fn add(&mut self, value: f32) {
        let bin = ((value - self.low) / self.width) as usize;
        self.bins[bin.min(BINS - 1)] += 1;
    }

    /// The bounds that leave out a fraction `tail` of the values on either side.
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
        let low = outside(&mut self.bins.iter()) as f32;
        let high = (BINS - outside(&mut self.bins.iter().rev())) as f32;
        (self.low + low * self.width, self.low + high * self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_are_left_out_and_nothing_else() {
        let mut counts = Counts::new((-10.0, 90.0));
        for step in 0..100_000 {
            counts.add(step as f32 / 100_000.0);
        }
        counts.add(-10.0);
        counts.add(90.0);
        let (low, high) = counts.range(TAIL);
        assert!((low - 0.0).abs() < 0.01 && (high - 1.0).abs() < 0.01, "{low} {high}");
        assert_eq!(counts.range(0.0), (-10.0, 90.0));
    }

    #[test]
    fn values_that_are_all_the_same_have_an_empty_range() {
        let mut counts = Counts::new((3.0, 3.0));
        counts.add(3.0);
        let (low, high) = counts.range(TAIL);
        assert!(low == 3.0 && (high - low) < 1e-6);
    }
}
