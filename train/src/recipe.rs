//! Recipes: how a network is trained, as data.
//!
//! A recipe is a TOML file; the ones in `train/recipes/` are built in. It says which parameters learn in which
//! phase, by patterns over their names (`*` matches anything), and nothing about the data.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::data::augment::Augment;

/// The recipes that ship with the project.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("three-phase", include_str!("../recipes/three-phase.toml")),
    ("from-scratch", include_str!("../recipes/from-scratch.toml")),
];

/// A way to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name, for people.
    pub name: String,
    /// Pictures per step.
    pub batch_size: usize,
    /// Share of the training pictures that is held out for validation, stratified.
    #[serde(default = "default_validation")]
    pub validation: f64,
    /// Adam's settings.
    #[serde(default)]
    pub adam: Adam,
    /// Random changes to training pictures.
    #[serde(default)]
    pub augment: Augment,
    /// Statistics of batch norm in frozen layers.
    #[serde(default)]
    pub frozen_bn: FrozenBatchNorm,
    /// What is trained when.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

fn default_validation() -> f64 {
    0.1
}

/// Adam (Kingma and Ba 2015, arXiv:1412.6980).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adam {
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// L2 penalty.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 }
    }
}

/// What batch norm does in a frozen layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrozenBatchNorm {
    /// `Eval` when the stem was loaded, `Train` when it is new: the loaded statistics do not describe what a new
    /// stem feeds them.
    #[default]
    Auto,
    /// Statistics stand still.
    Eval,
    /// Statistics adapt.
    Train,
}

/// A stretch of epochs with one choice of what learns, and how fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its name, for people.
    pub name: String,
    /// How long it lasts.
    pub epochs: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Patterns of the parameters that learn; new ones learn in any case.
    pub train: Vec<String>,
}

/// Why there is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Neither built in nor a file.
    #[error("cannot read the recipe {path}: {source} (built in: {names})", names = built_in_names())]
    Read {
        /// The name or file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a recipe.
    #[error("{origin} is not a recipe: {why}")]
    Invalid {
        /// The name or file.
        origin: String,
        /// What is wrong.
        why: String,
    },
}

fn built_in_names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

impl Recipe {
    /// The built-in recipe of this name, or the one in this file.
    pub fn load(name_or_path: &str) -> Result<Self, RecipeError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, name_or_path);
        }
        let path = Path::new(name_or_path);
        let text =
            fs::read_to_string(path).map_err(|source| RecipeError::Read { path: path.into(), source })?;
        Self::parse(&text, name_or_path)
    }

    fn parse(text: &str, origin: &str) -> Result<Self, RecipeError> {
        let invalid = |why: String| RecipeError::Invalid { origin: origin.into(), why };
        let recipe: Self = toml::from_str(text).map_err(|error| invalid(error.to_string().trim().into()))?;
        recipe.check().map_err(invalid)?;
        Ok(recipe)
    }

    /// What is wrong with it, if it cannot be followed.
    pub fn check(&self) -> Result<(), String> {
        let positive = |value: f64, what: &str| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(format!("{what} must be positive, not {value}")),
        };
        let fraction = |value: f64, what: &str| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(format!("{what} must be at least 0 and below 1, not {value}")),
        };
        // A batch of one has no statistics to normalise with.
        if self.batch_size < 2 {
            return Err(format!("batch_size must be at least 2, not {}", self.batch_size));
        }
        if self.validation <= 0.0 {
            return Err("validation must be above 0: the best weights are chosen by it".into());
        }
        fraction(self.validation, "validation")?;
        self.augment.check()?;
        fraction(self.adam.betas[0], "adam.betas[0]")?;
        fraction(self.adam.betas[1], "adam.betas[1]")?;
        positive(self.adam.eps, "adam.eps")?;
        if self.phases.is_empty() {
            return Err("there is no [[phase]]".into());
        }
        for phase in &self.phases {
            if phase.epochs == 0 {
                return Err(format!("phase {:?} has no epochs", phase.name));
            }
            positive(phase.learning_rate, &format!("the learning rate of phase {:?}", phase.name))?;
            phase.patterns()?;
        }
        Ok(())
    }

    /// Epochs of all phases.
    pub fn epochs(&self) -> usize {
        self.phases.iter().map(|phase| phase.epochs).sum()
    }

    /// The same phases in `epochs` epochs: each keeps its share and at least one epoch, as long as there are
    /// enough; with fewer epochs than phases, the first phases run.
    pub fn scaled_to(&self, epochs: usize) -> Self {
        let (total, count) = (self.epochs(), self.phases.len());
        let (mut planned, mut done) = (0, 0);
        let mut phases = Vec::new();
        for (index, phase) in self.phases.iter().enumerate() {
            planned += phase.epochs;
            let share = (planned * epochs + total / 2) / total;
            let end = share.max(done + 1).min(epochs.saturating_sub(count - 1 - index)).max(done);
            let end = if epochs < count { (index + 1).min(epochs) } else { end };
            if end > done {
                phases.push(Phase { epochs: end - done, ..phase.clone() });
            }
            done = end;
        }
        Self { phases, ..self.clone() }
    }

    /// The phase of an epoch, both counted from 0, where there is one.
    pub fn phase_of(&self, epoch: usize) -> Option<usize> {
        let mut end = 0;
        self.phases.iter().position(|phase| {
            end += phase.epochs;
            epoch < end
        })
    }
}

impl Phase {
    fn patterns(&self) -> Result<GlobSet, String> {
        let mut set = GlobSetBuilder::new();
        for pattern in &self.train {
            set.add(Glob::new(pattern).map_err(|error| format!("phase {:?}: {error}", self.name))?);
        }
        set.build().map_err(|error| format!("phase {:?}: {error}", self.name))
    }

    /// Those of `names` that learn: the ones the patterns match, and the new ones.
    pub fn trained<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        new: &HashSet<String>,
    ) -> Result<HashSet<&'n str>, String> {
        let patterns = self.patterns()?;
        Ok(names.filter(|name| new.contains(*name) || patterns.is_match(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::Crop;

    fn three_phase() -> Recipe {
        Recipe::load("three-phase").unwrap()
    }

    fn epochs(recipe: &Recipe) -> Vec<usize> {
        recipe.phases.iter().map(|phase| phase.epochs).collect()
    }

    #[test]
    fn three_phase_is_the_table_of_the_specification() {
        let recipe = three_phase();
        assert_eq!(epochs(&recipe), [5, 15, 30]);
        assert_eq!(recipe.phases.iter().map(|p| p.learning_rate).collect::<Vec<_>>(), [1e-3, 1e-4, 1e-5]);
        assert_eq!((recipe.batch_size, recipe.validation), (64, 0.1));
        let augment = Augment {
            crop: Crop::Auto,
            crop_padding: 4.0 / 32.0,
            horizontal_flip: 0.5,
            brightness: 0.2,
            contrast: 0.2,
            saturation: 0.2,
            hue: 0.1,
            rotation: 15.0,
            ..Augment::default()
        };
        assert_eq!(recipe.augment, augment);
        assert_eq!(Recipe::load("from-scratch").unwrap().augment, augment);
        let names = [
            "backbone.conv1.weight",
            "backbone.bn1.weight",
            "backbone.layer1.0.conv1.weight",
            "backbone.layer3.1.bn2.bias",
            "backbone.layer4.0.conv1.weight",
            "backbone.fc.bias",
            "cbam_layer2.channel_attn.fc.0.weight",
        ];
        let trained = |phase: usize, new: &[&str]| {
            let new = new.iter().map(|&name| name.to_owned()).collect();
            let set = recipe.phases[phase].trained(names.into_iter(), &new).unwrap();
            names.into_iter().filter(|name| set.contains(name)).collect::<Vec<_>>()
        };
        assert_eq!(trained(0, &[]), names[5..]);
        assert_eq!(trained(1, &[]), names[3..]);
        assert_eq!(trained(2, &[]), names);
        // A layer that was not loaded is new, and a new layer is never frozen.
        assert_eq!(trained(0, &[names[0]]), [names[0], names[5], names[6]]);
    }

    #[test]
    fn shorter_runs_keep_the_shares() {
        let recipe = three_phase();
        assert_eq!(epochs(&recipe.scaled_to(50)), [5, 15, 30]);
        assert_eq!(epochs(&recipe.scaled_to(100)), [10, 30, 60]);
        assert_eq!(epochs(&recipe.scaled_to(10)), [1, 3, 6]);
        assert_eq!(epochs(&recipe.scaled_to(6)), [1, 1, 4]);
        assert_eq!(epochs(&recipe.scaled_to(3)), [1, 1, 1]);
        assert_eq!(epochs(&recipe.scaled_to(2)), [1, 1]);
        assert_eq!(epochs(&recipe.scaled_to(1)), [1]);
        let six = recipe.scaled_to(6);
        assert_eq!(
            (0..7).map(|epoch| six.phase_of(epoch)).collect::<Vec<_>>(),
            [Some(0), Some(1), Some(2), Some(2), Some(2), Some(2), None]
        );
    }

    #[test]
    fn what_is_wrong_with_a_recipe_is_named() {
        let text = BUILT_IN[0].1;
        let why = |from: &str, to: &str| {
            Recipe::parse(&text.replacen(from, to, 1), "my.toml").unwrap_err().to_string()
        };
        assert!(why("batch_size = 64", "batch_size = 1").contains("batch_size must be at least 2"));
        assert!(why("epochs = 5", "epochs = 0").contains("has no epochs"));
        assert!(why("learning_rate = 1e-3", "learning_rate = -1.0").contains("must be positive"));
        assert!(why("hue = 0.1", "hue = 1.0").contains("my.toml is not a recipe: augment.hue must be"));
        assert!(why("batch_size", "batchsize").contains("batchsize"));
        assert!(why("\"cbam_layer*\"", "\"cbam_layer[\"").contains("phase"));
        let missing = Recipe::load("no-such-recipe").unwrap_err().to_string();
        assert!(missing.contains("no-such-recipe") && missing.contains("three-phase"), "{missing}");
    }

    #[test]
    fn every_built_in_recipe_loads_and_survives_a_round_trip() {
        for (name, _) in BUILT_IN {
            let recipe = Recipe::load(name).unwrap();
            assert_eq!(recipe.name, name);
            assert_eq!(toml::from_str::<Recipe>(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
        }
    }
}
