//! Settings of the loss, in recipes and on the command line.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::SettingError;

/// Largest weight of a class: beyond it a loss of 32-bit floats has no digits left for the others.
const LARGEST_WEIGHT: f64 = 1e6;

/// Settings of the loss: the table `[loss]` of a recipe.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossSettings {
    /// Kind of loss.
    pub name: LossName,
    /// Exponent of the focal loss, at least 0; 2 if absent, as in the paper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Weights of the classes; all the same if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

/// Kind of loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// Cross-entropy; binary cross-entropy of each class in a multi-label task.
    #[default]
    CrossEntropy,
    /// Focal loss (Lin et al. 2017, arXiv:1708.02002), in which images that are easy already count less.
    Focal,
}

/// Weights of the classes: `"balanced"`, or a table of names.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeights {
    /// Rare classes count as much as frequent ones, see [`class_weights`](super::class_weights).
    Balanced,
    /// Weights by the name of the class; classes that are not named have 1.
    Named(IndexMap<String, f64>),
}

impl LossSettings {
    /// Exponent of the focal loss; `None` for cross-entropy.
    pub fn focusing(&self) -> Option<f64> {
        (self.name == LossName::Focal).then(|| self.gamma.unwrap_or(2.0))
    }

    /// Checks that every setting is in range and has an effect.
    ///
    /// # Errors
    /// [`SettingError`] for the first one that is not.
    pub fn check(&self) -> Result<(), SettingError> {
        if let Some(gamma) = self.gamma {
            if self.name != LossName::Focal {
                let expected = "left out with cross-entropy: it belongs to the focal loss";
                return Err(SettingError::new("loss.gamma", expected, gamma));
            }
            if !(gamma >= 0.0 && gamma.is_finite()) {
                return Err(SettingError::new("loss.gamma", "at least 0", gamma));
            }
        }
        let Some(ClassWeights::Named(weights)) = &self.class_weights else { return Ok(()) };
        let sound = |weight: f64| weight > 0.0 && weight <= LARGEST_WEIGHT;
        match weights.iter().find(|(_, weight)| !sound(**weight)) {
            Some((class, weight)) => {
                let expected = format!("positive and at most {LARGEST_WEIGHT}");
                // As an exponent: 1e300 has 301 digits.
                Err(SettingError::new(
                    format_args!("loss.class_weights.{class}"),
                    expected,
                    format!("{weight:e}"),
                ))
            }
            None => Ok(()),
        }
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => serializer.serialize_str("balanced"),
            Self::Named(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ClassWeights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"balanced\", or a table of weights by the names of the classes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ClassWeights, E> {
                match text {
                    "balanced" => Ok(ClassWeights::Balanced),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClassWeights, A::Error> {
                let mut weights = IndexMap::new();
                while let Some((class, weight)) = map.next_entry()? {
                    weights.insert(class, weight);
                }
                Ok(ClassWeights::Named(weights))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Text that gives no class weights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseWeightsError {
    /// A part is no class with a number.
    #[error(
        "{0:?} is not a class with its weight: use balanced, or CLASS=WEIGHT,CLASS=WEIGHT; a class with a comma in its name \
         has its weight in a recipe, [loss] class_weights = {{ \"CLASS\" = WEIGHT }}"
    )]
    NoWeight(String),
    /// A class is there twice.
    #[error("{0:?} has two weights")]
    Twice(String),
}

impl FromStr for ClassWeights {
    type Err = ParseWeightsError;

    fn from_str(text: &str) -> Result<Self, ParseWeightsError> {
        if text == "balanced" {
            return Ok(Self::Balanced);
        }
        let weight = |part: &str| {
            let (class, weight) = part.rsplit_once('=')?;
            let class = class.trim();
            Some((class.to_owned(), weight.trim().parse().ok()?)).filter(|_| !class.is_empty())
        };
        let mut named = IndexMap::new();
        for part in text.split(',') {
            let (class, weight) = weight(part).ok_or_else(|| ParseWeightsError::NoWeight(part.into()))?;
            if named.insert(class.clone(), weight).is_some() {
                return Err(ParseWeightsError::Twice(class));
            }
        }
        Ok(Self::Named(named))
    }
}
