//! Recipes: how a network is trained, as data.
//!
//! A recipe is a TOML file; the ones in `train/recipes/` are built in. It says which parameters learn in which
//! phase, by patterns over their names (`*` matches anything), and nothing about the data.

mod phase;
mod schedule;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

pub use self::phase::{Group, Phase};
pub use self::schedule::{Plateau, Rates, Schedule};
use crate::data::augment::Augment;
use crate::optimizer::Settings;

/// The recipes that ship with the project.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("three-phase", include_str!("../recipes/three-phase.toml")),
    ("differential", include_str!("../recipes/differential.toml")),
    ("from-scratch", include_str!("../recipes/from-scratch.toml")),
];

/// A way to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name, for people.
    pub name: String,
    /// Images per step.
    pub batch_size: usize,
    /// Share of the training images that is held out for validation, stratified.
    #[serde(default = "default_validation")]
    pub validation: f64,
    /// Steps whose gradients are added up before the parameters move: a batch that many times as large.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Largest norm of all gradients together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Share of the target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    #[serde(default)]
    pub label_smoothing: f64,
    /// Decay of the moving average of the weights that is validated and kept instead of the weights themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Epochs without a better validation loss that end a phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<usize>,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: Settings,
    /// When rates fall under the plateau schedule.
    #[serde(default)]
    pub plateau: Plateau,
    /// Random changes to training images.
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

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_one(value: &usize) -> bool {
    *value == 1
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
        // A batch of one has no statistics to normalise with.
        if self.batch_size < 2 {
            return Err(format!("batch_size must be at least 2, not {}", self.batch_size));
        }
        if self.validation <= 0.0 {
            return Err("validation must be above 0: the best weights are chosen by it".into());
        }
        fraction(self.validation, "validation")?;
        self.augment.check()?;
        self.check_optimisation()?;
        if self.phases.is_empty() {
            return Err("there is no [[phase]]".into());
        }
        let twice =
            |(index, phase): (usize, &Phase)| self.phases[..index].iter().any(|p| p.name == phase.name);
        if self.phases.iter().enumerate().any(twice) {
            return Err("two phases have one name".into());
        }
        self.phases.iter().try_for_each(Phase::check)
    }

    fn check_optimisation(&self) -> Result<(), String> {
        let settings = &self.optimizer;
        fraction(settings.betas[0], "optimizer.betas[0]")?;
        fraction(settings.betas[1], "optimizer.betas[1]")?;
        positive(settings.eps, "optimizer.eps")?;
        if !(settings.weight_decay >= 0.0 && settings.weight_decay.is_finite()) {
            return Err(format!("optimizer.weight_decay must not be negative: {}", settings.weight_decay));
        }
        if self.accumulate == 0 {
            return Err("accumulate must be at least 1".into());
        }
        self.clip_norm.map_or(Ok(()), |norm| positive(norm, "clip_norm"))?;
        fraction(self.label_smoothing, "label_smoothing")?;
        self.ema.map_or(Ok(()), |decay| fraction(decay, "ema"))?;
        if self.early_stopping == Some(0) {
            return Err("early_stopping must be at least 1 epoch".into());
        }
        self.plateau.check()
    }

    /// Epochs of all phases.
    pub fn epochs(&self) -> usize {
        self.phases.iter().map(|phase| phase.epochs).sum()
    }

    /// Freezes the stem, even a new one, in the phases that do not name it: the naive recipe.
    pub fn freeze_stem(&mut self) {
        for phase in &mut self.phases {
            let stem = ["backbone.conv1.weight"].into_iter();
            let named = phase.trained(stem, &HashSet::new()).is_ok_and(|trained| !trained.is_empty());
            if !named {
                phase.freeze_new.extend(["backbone.conv1.*".into(), "backbone.bn1.*".into()]);
            }
        }
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
                let warm_up = phase.warm_up * (end - done) as f64 / phase.epochs as f64;
                phases.push(Phase { epochs: end - done, warm_up, ..phase.clone() });
            }
            done = end;
        }
        Self { phases, ..self.clone() }
    }
}

fn positive(value: f64, what: &str) -> Result<(), String> {
    match value > 0.0 && value.is_finite() {
        true => Ok(()),
        false => Err(format!("{what} must be positive, not {value}")),
    }
}

fn fraction(value: f64, what: &str) -> Result<(), String> {
    match (0.0..1.0).contains(&value) {
        true => Ok(()),
        false => Err(format!("{what} must be at least 0 and below 1, not {value}")),
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
    }

    #[test]
    fn a_warm_up_is_scaled_with_its_phase() {
        let mut recipe = three_phase();
        recipe.phases[2].warm_up = 15.0;
        let short = recipe.scaled_to(3);
        assert_eq!(short.phases[2].warm_up, 0.5);
        short.check().unwrap();
    }

    #[test]
    fn the_stem_is_frozen_where_it_is_not_named() {
        let mut recipe = three_phase();
        recipe.phases[1].train = vec!["backbone.*".into()];
        recipe.freeze_stem();
        let frozen: Vec<usize> = recipe.phases.iter().map(|phase| phase.freeze_new.len()).collect();
        assert_eq!(frozen, [2, 0, 0]);
    }

    #[test]
    fn what_is_wrong_with_a_recipe_is_named() {
        let text = BUILT_IN[0].1;
        let why = |from: &str, to: &str| {
            Recipe::parse(&text.replacen(from, to, 1), "my.toml").unwrap_err().to_string()
        };
        assert!(why("batch_size = 64", "batch_size = 1").contains("batch_size must be at least 2"));
        assert!(why("wake the high level", "warm up the new").contains("two phases have one name"));
        assert!(why("epochs = 5", "epochs = 0").contains("has no epochs"));
        assert!(why("learning_rate = 1e-3", "learning_rate = -1.0").contains("must be positive"));
        assert!(why("name =", "accumulate = 0\nname =").contains("accumulate must be at least 1"));
        assert!(why("name =", "ema = 1.0\nname =").contains("ema must be at least 0 and below 1"));
        assert!(why("name =", "clip_norm = 0.0\nname =").contains("clip_norm must be positive"));
        assert!(why("name =", "label_smoothing = 1.5\nname =").contains("label_smoothing must be"));
        assert!(why("name =", "early_stopping = 0\nname =").contains("early_stopping must be"));
        assert!(why("factor = 0.5", "factor = 1.0").contains("plateau.factor must be between"));
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
