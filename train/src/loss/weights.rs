//! Class weights from the numbers of images.

use ferronnx_infer::data_set::nfc;
use ferronnx_infer::error::first_of;
use ferronnx_infer::escape;

use super::ClassWeights;
use crate::task::Task;

/// Class weights that do not fit the classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// Weights are given for classes that there are not.
    #[error("class weights name {} (the classes are {})", few(unknown), few(known))]
    Unknown {
        /// Names that are no class.
        unknown: Vec<String>,
        /// Names of the classes.
        known: Vec<String>,
    },
}

fn few(names: &[String]) -> String {
    first_of(10, names.iter().map(|name| escape::name(name)))
}

impl ClassWeights {
    /// Checks that all named classes are in `labels`.
    ///
    /// # Errors
    /// [`WeightsError::Unknown`] with those that are not.
    pub fn check(&self, labels: &[String]) -> Result<(), WeightsError> {
        let Self::Named(named) = self else { return Ok(()) };
        let is_known = |name: &str| labels.iter().any(|label| *label == nfc(name));
        let unknown: Vec<String> = named.keys().filter(|name| !is_known(name)).cloned().collect();
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(WeightsError::Unknown { unknown, known: labels.to_vec() }),
        }
    }
}

/// Computes the weight of each class in `labels`, of which `counts` of all `images` training images have each.
///
/// Balanced weights are those of scikit-learn for one label: images / (classes * images of the class). For several
/// labels they are images without the class / images with it. A class without images has 1.
///
/// # Errors
/// [`WeightsError::Unknown`] when weights name classes that are not in `labels`.
pub fn class_weights(
    weights: &ClassWeights,
    task: Task,
    labels: &[String],
    counts: &[usize],
    images: usize,
) -> Result<Vec<f64>, WeightsError> {
    match weights {
        ClassWeights::Balanced => {
            let present = counts.iter().filter(|&&count| count > 0).count();
            let weight = |&count: &usize| match (task, count) {
                (_, 0) => 1.0,
                (Task::SingleLabel, _) => images as f64 / (present * count) as f64,
                // A class on every image has no image to be weighed against.
                (Task::MultiLabel, _) if count == images => 1.0,
                (Task::MultiLabel, _) => (images - count) as f64 / count as f64,
            };
            Ok(counts.iter().map(weight).collect())
        }
        ClassWeights::Named(named) => {
            weights.check(labels)?;
            let weight = |label: &String| {
                named.iter().find(|(name, _)| nfc(name) == *label).map_or(1.0, |(_, weight)| *weight)
            };
            Ok(labels.iter().map(weight).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["cat", "caf\u{e9}", "dog"].map(Into::into).into()
    }

    #[test]
    fn balanced_weights_are_those_of_scikit_learn() {
        let balanced = |task, counts: &[usize], images| {
            class_weights(&ClassWeights::Balanced, task, &names(), counts, images).unwrap()
        };
        // compute_class_weight("balanced", classes=[0, 1, 2], y=[0] * 50 + [1] * 5 + [2] * 5)
        assert_eq!(balanced(Task::SingleLabel, &[50, 5, 5], 60), [0.4, 4.0, 4.0]);
        assert_eq!(balanced(Task::SingleLabel, &[30, 0, 30], 60), [1.0, 1.0, 1.0]);
        assert_eq!(balanced(Task::MultiLabel, &[10, 2, 20], 20), [1.0, 9.0, 1.0]);
    }

    #[test]
    fn weights_by_name_leave_the_others_at_one() {
        let named = |text: &str| {
            let weights: ClassWeights = text.parse().unwrap();
            class_weights(&weights, Task::SingleLabel, &names(), &[1, 1, 1], 3)
        };
        assert_eq!(named("cafe\u{301}=2.5,dog=3").unwrap(), [1.0, 2.5, 3.0]);
        let error = named("cow=2,cat=1").unwrap_err().to_string();
        assert_eq!(error, "class weights name cow (the classes are cat, caf\u{e9}, dog)");
        for wrong in ["cat", "=3", "salt, pepper=2"] {
            let error = wrong.parse::<ClassWeights>().unwrap_err().to_string();
            assert!(error.contains("CLASS=WEIGHT") && error.contains("comma in its name"), "{error}");
        }
        let error = "cat=2,dog=1,cat=3".parse::<ClassWeights>().unwrap_err().to_string();
        assert_eq!(error, "\"cat\" has two weights");
    }
}
