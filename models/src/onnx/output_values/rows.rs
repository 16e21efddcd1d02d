//! Meaning of outputs as far as their values tell.

/// Meaning that the values of several images suggest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suggestion {
    /// Some values are below 0 or above 1.
    Logits,
    /// All values are in [0, 1], and each row sums to 1.
    Probabilities,
    /// All values are in [0, 1], and some row does not sum to 1.
    Scores,
    /// All values are at most 0, and the exponentials of each row sum to 1.
    LogProbabilities,
}

/// Judges rows `[images, classes]` of an output by their values, for a file whose graph cannot be read.
///
/// At least two rows that differ are needed, each with the same number of values, all of them finite; else the result is
/// none. Sums may be 1e-3 off, which is what 16-bit floats need.
///
/// This can be wrong. A row of scores sums to 1 by chance with a probability of about 1e-3, so rows of different images are
/// needed, more than two rather than two. Logits that lie in [0, 1] for all images given, as those of an untrained network
/// with positive weights may, look like scores. What was decided this way has to be said.
pub fn values_suggest<R: AsRef<[f32]>>(rows: &[R]) -> Option<Suggestion> {
    const TOLERANCE: f64 = 1e-3;
    let (first, rest) = rows.split_first()?;
    let first = first.as_ref();
    let differ = rest.iter().any(|row| row.as_ref() != first);
    let alike = rest.iter().all(|row| row.as_ref().len() == first.len()) && !first.is_empty();
    let values = || rows.iter().flat_map(|row| row.as_ref()).map(|&value| f64::from(value));
    if !differ || !alike || !values().all(f64::is_finite) {
        return None;
    }
    let sums_to_one = |of: fn(f64) -> f64| {
        rows.iter().all(|row| {
            let sum: f64 = row.as_ref().iter().map(|&value| of(f64::from(value))).sum();
            (sum - 1.0).abs() <= TOLERANCE
        })
    };
    let within =
        |low: f64, high: f64| values().all(|value| (low - TOLERANCE..=high + TOLERANCE).contains(&value));
    Some(match (within(0.0, 1.0), within(f64::NEG_INFINITY, 0.0)) {
        // One value that sums to 1 in every row is excluded: such rows do not differ.
        (true, _) if sums_to_one(|value| value) => Suggestion::Probabilities,
        (true, _) => Suggestion::Scores,
        (false, true) if sums_to_one(f64::exp) => Suggestion::LogProbabilities,
        _ => Suggestion::Logits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_meaning_has_its_values() {
        let two = |a: &[f32], b: &[f32]| values_suggest(&[a, b]);
        assert_eq!(two(&[0.9, 0.1], &[0.2, 0.8]), Some(Suggestion::Probabilities));
        assert_eq!(two(&[0.8999, 0.1005], &[0.2, 0.8]), Some(Suggestion::Probabilities));
        assert_eq!(two(&[0.9, 0.7], &[0.2, 0.8]), Some(Suggestion::Scores));
        assert_eq!(two(&[0.9], &[0.2]), Some(Suggestion::Scores));
        assert_eq!(two(&[3.0, -1.0], &[0.2, 0.8]), Some(Suggestion::Logits));
        assert_eq!(two(&[-3.0, -1.0], &[-2.0, -8.0]), Some(Suggestion::Logits));
        let log = |p: f32| [p.ln(), (1.0 - p).ln()];
        assert_eq!(two(&log(0.3), &log(0.9)), Some(Suggestion::LogProbabilities));
    }

    #[test]
    fn too_little_suggests_nothing() {
        assert_eq!(values_suggest::<[f32; 2]>(&[]), None);
        assert_eq!(values_suggest(&[[0.9, 0.1]]), None);
        assert_eq!(values_suggest(&[[0.9, 0.1], [0.9, 0.1]]), None);
        assert_eq!(values_suggest(&[[0.9, f32::NAN], [0.9, 0.1]]), None);
        assert_eq!(values_suggest(&[vec![0.9, 0.1], vec![1.0]]), None);
        assert_eq!(values_suggest(&[[0.0_f32; 0], []]), None);
    }
}
