//! Normalisation of the input, from what is known about the model.

use ferronnx_models::card::InputForm;
use serde_json::json;

use super::{Assumptions, Facts, Ledger, Stated, known};

/// Range of the values of an image before mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// From 0 to 1: bytes are divided by 255.
    One,
    /// From 0 to 255: bytes as they are.
    Byte,
}

impl Range {
    /// Largest value: 1 or 255.
    pub fn largest(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Byte => 255,
        }
    }
}

/// Reason why the normalisation of an input is not known.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NormalizationError {
    /// Mean and standard deviation are not known, and the range of the values is not either.
    #[error("has no model card, so that how its images are normalised is unknown")]
    Unknown,
    /// Only one of mean and standard deviation is known.
    #[error("needs mean and standard deviation, and only the {0} is known")]
    Half(&'static str),
    /// There is not one number for each channel.
    #[error("takes {channels} channel(s), and there are {found} numbers for the {what}")]
    Channels {
        /// Channels of the input.
        channels: usize,
        /// Numbers that are known.
        found: usize,
        /// Name of the numbers.
        what: &'static str,
    },
    /// Some numbers are for values from 0 to 1, others for values from 0 to 255.
    #[error(
        "the mean {mean:?} and the standard deviation {std:?} do not suit values from 0 to {range}: means up to 255 \
         are for values from 0 to 255"
    )]
    Range {
        /// Mean of each channel.
        mean: Vec<f32>,
        /// Standard deviation of each channel.
        std: Vec<f32>,
        /// Largest value that is known or assumed.
        range: u32,
    },
    /// A standard deviation is zero or negative.
    #[error("a standard deviation of {0:?}: it has to be above 0")]
    NotPositive(Vec<f32>),
    /// The input takes bytes, which the model normalises itself.
    #[error("takes bytes and normalises them itself, so that a mean and a standard deviation have no place")]
    Bytes,
}

/// Mean and standard deviation of each channel, for values in [0, 1].
pub(super) type Statistics = (Vec<f32>, Vec<f32>);

/// Finds mean and standard deviation for values in [0, 1], and lists them in `ledger` as they were stated.
pub(super) fn normalization(
    form: InputForm,
    channels: usize,
    given: &Assumptions,
    facts: &Facts,
    ledger: &mut Ledger,
) -> Result<Statistics, NormalizationError> {
    let identity = (vec![0.0; channels], vec![1.0; channels]);
    if form == InputForm::Uint8 {
        let is_identity = |given: &Option<Vec<f32>>, value: f32| {
            given.as_ref().is_none_or(|numbers| numbers.iter().all(|&number| number == value))
        };
        let suits = is_identity(&given.mean, 0.0) && is_identity(&given.std, 1.0);
        return if suits { Ok(identity) } else { Err(NormalizationError::Bytes) };
    }
    let range = known(&given.range, &facts.range);
    let (mean, std) = match (known(&given.mean, &facts.mean), known(&given.std, &facts.std), &range) {
        (Some(mean), Some(std), _) => (mean, std),
        (None, None, Some(_)) => {
            let usual = |value| Stated { value, source: "nothing but the range is known".into() };
            (usual(identity.0), usual(identity.1))
        }
        (None, None, None) => return Err(NormalizationError::Unknown),
        (Some(_), None, _) => return Err(NormalizationError::Half("mean")),
        (None, Some(_), _) => return Err(NormalizationError::Half("standard deviation")),
    };
    for (what, numbers) in [("mean", &mean.value), ("standard deviation", &std.value)] {
        if numbers.len() != channels {
            return Err(NormalizationError::Channels { channels, found: numbers.len(), what });
        }
    }
    if !std.value.iter().all(|&std| std > 0.0) {
        return Err(NormalizationError::NotPositive(std.value));
    }
    let range = range_of(&mean.value, &std.value, range)?;
    ledger.note("scale", range.value.largest(), range.source);
    ledger.note("mean", json!(mean.value), mean.source);
    ledger.note("std", json!(std.value), std.source);
    let to_one = |numbers: Vec<f32>| match range.value {
        Range::One => numbers,
        Range::Byte => numbers.into_iter().map(|number| number / 255.0).collect(),
    };
    Ok((to_one(mean.value), to_one(std.value)))
}

/// Range that mean and standard deviation are for: a mean above 1 is outside of values from 0 to 1.
fn range_of(
    mean: &[f32],
    std: &[f32],
    known: Option<Stated<Range>>,
) -> Result<Stated<Range>, NormalizationError> {
    let is_large = |numbers: &[f32]| numbers.iter().any(|number| number.abs() > 1.0);
    let wrong = |range| NormalizationError::Range { mean: mean.into(), std: std.into(), range };
    // A mean of exactly 0 is in both ranges; other means, and deviations, of at most 1 are for values from 0 to 1.
    let is_small = mean.iter().any(|&mean| mean != 0.0 && mean.abs() <= 1.0);
    match known {
        Some(Stated { value: Range::One, .. }) if is_large(mean) => Err(wrong(1)),
        Some(Stated { value: Range::Byte, .. }) if is_small => Err(wrong(255)),
        Some(known) => Ok(known),
        None if is_large(mean) && is_small => Err(wrong(255)),
        None if is_large(mean) => {
            Ok(Stated { value: Range::Byte, source: "a mean above 1 is for values from 0 to 255".into() })
        }
        None if is_large(std) && is_small => Err(wrong(1)),
        None if is_large(std) => {
            let source = "a standard deviation above 1 is for values from 0 to 255".into();
            Ok(Stated { value: Range::Byte, source })
        }
        None => Ok(Stated { value: Range::One, source: "mean and standard deviation are at most 1".into() }),
    }
}

/// Converts mean and standard deviation to values in [0, 1], if they are for values from 0 to 255.
///
/// # Errors
/// [`NormalizationError::Range`] when some of them are for one range and some for the other,
/// [`NormalizationError::NotPositive`].
pub fn to_unit_range(mean: Vec<f32>, std: Vec<f32>) -> Result<(Vec<f32>, Vec<f32>), NormalizationError> {
    let given = Assumptions { mean: Some(mean), std: Some(std), ..Assumptions::default() };
    let channels = given.mean.as_ref().map_or(0, Vec::len);
    normalization(InputForm::Float, channels, &given, &Facts::default(), &mut Ledger::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(mean: &[f32], std: &[f32], range: Option<Range>) -> Result<Statistics, NormalizationError> {
        let given =
            Assumptions { mean: Some(mean.into()), std: Some(std.into()), range, ..Assumptions::default() };
        normalization(InputForm::Float, mean.len(), &given, &Facts::default(), &mut Ledger::default())
    }

    #[test]
    fn a_mean_above_1_is_for_bytes() {
        let (mean, std) = find(&[123.675, 116.28, 103.53], &[58.395, 57.12, 57.375], None).unwrap();
        let close =
            |found: &[f32], right: [f32; 3]| found.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(&mean, [0.485, 0.456, 0.406]) && close(&std, [0.229, 0.224, 0.225]));
        let (_, std) = find(&[0.0], &[255.0], None).unwrap();
        assert_eq!(std, [1.0]);
        assert_eq!(find(&[0.5], &[0.5], None).unwrap(), (vec![0.5], vec![0.5]));
        assert_eq!(find(&[0.0], &[1.0], Some(Range::Byte)).unwrap(), (vec![0.0], vec![1.0 / 255.0]));
    }

    #[test]
    fn what_suits_no_range_is_refused() {
        assert!(matches!(find(&[123.0, 0.4, 100.0], &[1.0; 3], None), Err(NormalizationError::Range { .. })));
        assert!(matches!(find(&[0.5], &[58.0], None), Err(NormalizationError::Range { .. })));
        assert!(matches!(find(&[123.0], &[58.0], Some(Range::One)), Err(NormalizationError::Range { .. })));
        assert!(matches!(find(&[0.5], &[0.0], None), Err(NormalizationError::NotPositive(_))));
    }

    #[test]
    fn the_range_alone_is_enough() {
        let given = Assumptions { range: Some(Range::Byte), ..Assumptions::default() };
        let mut ledger = Ledger::default();
        let found = normalization(InputForm::Float, 1, &given, &Facts::default(), &mut ledger).unwrap();
        assert_eq!(found, (vec![0.0], vec![1.0 / 255.0]));
        assert_eq!(ledger.0.iter().map(|one| one.what).collect::<Vec<_>>(), ["scale", "mean", "std"]);
        assert_eq!(ledger.0[0].source, "given");
        let unknown = normalization(
            InputForm::Float,
            1,
            &Assumptions::default(),
            &Facts::default(),
            &mut Ledger::default(),
        );
        assert_eq!(unknown, Err(NormalizationError::Unknown));
    }
}
