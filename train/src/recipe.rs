//! Training recipes: phases, learning rates, augmentation and optimizer settings, read from TOML.
//!
//! The recipes in `train/recipes/` are built in. A recipe names the parameters that learn in each phase by patterns of
//! their names (`*` matches anything) or by the [roles](ferronnx_models::Roles) that the network declares (`@head`).
//! It says nothing about the data.

mod best;
mod error;
mod patterns;
mod phase;
mod schedule;
mod unused;

use std::fs;
use std::path::Path;

use ferronnx_models::Roles;
use serde::{Deserialize, Serialize};

pub use self::best::BestBy;
pub use self::error::{PhaseFault, RecipeError, RecipeFault};
pub use self::patterns::PatternError;
pub(crate) use self::patterns::role;
pub use self::phase::{Group, Phase};
pub use self::schedule::{Course, Cycle, Plateau, Rates, Schedule};
use crate::data::Sampling;
use crate::data::augment::Augment;
use crate::error::SettingError;
use crate::loss::LossSettings;
use crate::optimizer::Settings;

/// Names and texts of the recipes that ship with the project.
pub const BUILT_IN: [(&str, &str); 5] = [
    ("fine-tune", include_str!("../recipes/fine-tune.toml")),
    ("three-phase", include_str!("../recipes/three-phase.toml")),
    ("differential", include_str!("../recipes/differential.toml")),
    ("one-cycle", include_str!("../recipes/one-cycle.toml")),
    ("from-scratch", include_str!("../recipes/from-scratch.toml")),
];

/// A training recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the recipe, for people.
    pub name: String,
    /// Images per step, at least 2.
    pub batch_size: usize,
    /// Share of each class's training images that is held out for validation, above 0 and below 1.
    #[serde(default = "default_validation")]
    pub validation: f64,
    /// Steps whose gradients are added up before the parameters are updated: a batch that many times as large.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Largest norm of all gradients together; larger gradients are scaled down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Share of the target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    #[serde(default)]
    pub label_smoothing: f64,
    /// Loss, with the weights of the classes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub loss: LossSettings,
    /// Choice of the images of an epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampling: Sampling,
    /// Metric of the validation images that chooses the best epoch; the task's [default](BestBy::of) if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<BestBy>,
    /// Decay of the moving average of the weights, which is validated and saved instead of the weights themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// True if the test images are also evaluated by the mean of the logits of each image and its mirror image, with an
    /// accuracy of its own. A deployed model does not do that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mirrored_test: bool,
    /// Epochs without a lower validation loss after which a phase ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<usize>,
    /// Settings of the optimizer.
    #[serde(default)]
    pub optimizer: Settings,
    /// Settings of the plateau schedule.
    #[serde(default)]
    pub plateau: Plateau,
    /// Settings of schedules that rise to a peak.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cycle: Cycle,
    /// Random changes to training images.
    #[serde(default)]
    pub augment: Augment,
    /// Batch-norm statistics of frozen layers.
    #[serde(default)]
    pub frozen_bn: FrozenBatchNorm,
    /// Phases, in the order in which they are trained.
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

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Behaviour of batch norm in frozen layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrozenBatchNorm {
    /// `Eval` when the stem was loaded, `Train` when it is new: loaded statistics do not describe the output of a new
    /// stem.
    #[default]
    Auto,
    /// The running statistics are used and kept.
    Eval,
    /// The running statistics go on adapting.
    Train,
}

impl Recipe {
    /// Loads the built-in recipe of this name, or a TOML file.
    ///
    /// # Errors
    /// [`RecipeError`] when there is neither, when the file is not a recipe, and when a setting is out of range.
    pub fn load(name_or_path: impl AsRef<Path>) -> Result<Self, RecipeError> {
        Self::load_with_notes(name_or_path).map(|(recipe, _)| recipe)
    }

    /// Loads a recipe as [`Recipe::load`] does, with a sentence about each setting that is given and changes nothing.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn load_with_notes(name_or_path: impl AsRef<Path>) -> Result<(Self, Vec<String>), RecipeError> {
        let path = name_or_path.as_ref();
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| path == Path::new(name)) {
            return Self::parse(text, name);
        }
        let text =
            fs::read_to_string(path).map_err(|source| RecipeError::Read { path: path.into(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, origin: &str) -> Result<(Self, Vec<String>), RecipeError> {
        let faulty = |source| RecipeError::Parse { origin: origin.into(), source: Box::new(source) };
        let recipe: Self = toml::from_str(text).map_err(faulty)?;
        recipe
            .check()
            .map_err(|source| RecipeError::Invalid { origin: origin.into(), source: source.into() })?;
        let table: toml::Table = toml::from_str(text).map_err(faulty)?;
        unused::check_pairs(&table).map_err(|source| RecipeError::Invalid {
            origin: origin.into(),
            source: Box::new(source.into()),
        })?;
        let notes = unused::unused(&table, &recipe);
        Ok((recipe, notes))
    }

    /// Checks that every setting is in range.
    ///
    /// # Errors
    /// [`RecipeFault`] for the first setting that is not.
    pub fn check(&self) -> Result<(), RecipeFault> {
        // A batch of one has no statistics to normalise with.
        if self.batch_size < 2 {
            return Err(SettingError::new("batch_size", "at least 2", self.batch_size).into());
        }
        if self.validation <= 0.0 {
            let expected = "above 0, because the best weights are chosen by validation";
            return Err(SettingError::new("validation", expected, self.validation).into());
        }
        SettingError::fraction(self.validation, "validation")?;
        self.augment.check()?;
        self.check_optimisation()?;
        self.loss.check()?;
        if self.phases.is_empty() {
            return Err(RecipeFault::NoPhase);
        }
        for (index, phase) in self.phases.iter().enumerate() {
            if self.phases[..index].iter().any(|earlier| earlier.name == phase.name) {
                return Err(RecipeFault::SamePhase(phase.name.clone()));
            }
            phase.check().map_err(|source| phase.fault(source))?;
        }
        Ok(())
    }

    fn check_optimisation(&self) -> Result<(), SettingError> {
        self.optimizer.check()?;
        if self.accumulate == 0 {
            return Err(SettingError::new("accumulate", "at least 1", 0));
        }
        self.clip_norm.map_or(Ok(()), |norm| SettingError::positive(norm, "clip_norm"))?;
        SettingError::fraction(self.label_smoothing, "label_smoothing")?;
        self.ema.map_or(Ok(()), |decay| SettingError::fraction(decay, "ema"))?;
        if self.early_stopping == Some(0) {
            return Err(SettingError::new("early_stopping", "at least 1 epoch", 0));
        }
        self.cycle.check()?;
        self.plateau.check()
    }

    /// Checks that every pattern and role of every phase matches a parameter of the network.
    ///
    /// # Errors
    /// [`RecipeFault::Phase`] with the pattern, the phase, and the roles and names that there are. A role that the
    /// network declares may be empty.
    pub fn check_names(&self, names: &[&str], roles: &Roles) -> Result<(), RecipeFault> {
        let check = |phase: &Phase| phase.check_names(names, roles).map_err(|source| phase.fault(source));
        self.phases.iter().try_for_each(check)
    }

    /// Number of epochs of all phases together.
    pub fn epochs(&self) -> usize {
        self.phases.iter().map(|phase| phase.epochs).sum()
    }

    /// Number of epochs of the longest phase.
    pub fn longest_phase(&self) -> usize {
        self.phases.iter().map(|phase| phase.epochs).max().unwrap_or_default()
    }

    /// False if early stopping is asked for, and no phase is long enough to be ended by it.
    pub fn early_stopping_has_effect(&self) -> bool {
        self.early_stopping.is_none_or(|patience| patience < self.longest_phase())
    }

    /// Freezes the stem, even a new one, in the phases that do not train it by name.
    ///
    /// # Errors
    /// [`RecipeFault::Phase`] when a pattern is not valid or the network declares no stem.
    pub fn freeze_stem(&mut self, names: &[&str], roles: &Roles) -> Result<(), RecipeFault> {
        for phase in &mut self.phases {
            let trains = phase.trains_stem(names, roles).map_err(|source| phase.fault(source))?;
            if !trains {
                phase.freeze_new.push("@stem".into());
            }
        }
        Ok(())
    }

    /// Multiplies the learning rates of all phases by one factor, so that `learning_rate` of the first phase is `rate`.
    #[must_use]
    pub fn with_learning_rate(&self, rate: f64) -> Self {
        let factor = self.phases.first().map_or(1.0, |phase| rate / phase.learning_rate);
        let phases = self.phases.iter().map(|phase| phase.with_rates_times(factor)).collect();
        Self { phases, ..self.clone() }
    }

    /// Scales the phases to `epochs` epochs in all.
    ///
    /// Each phase keeps its share and at least one epoch. With fewer epochs than phases, only the first phases run.
    #[must_use]
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

#[cfg(test)]
mod tests {
    use ferronnx_models::Module;
    use ferronnx_models::networks::{Architecture, Classifier};

    use super::*;
    use crate::data::augment::Crop;
    use crate::error::chain;

    fn roles() -> Roles {
        Classifier::new(&Architecture::default()).unwrap().roles()
    }

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
            let set = recipe.phases[phase].trained(names.into_iter(), &new, &roles()).unwrap();
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
    fn a_learning_rate_is_that_of_the_first_phase_and_the_others_keep_their_ratio() {
        let mut recipe = three_phase();
        recipe.phases[1].new_learning_rate = Some(5e-4);
        let rates: Vec<f64> = recipe.with_learning_rate(2e-2).phases.iter().flat_map(Phase::rates).collect();
        for (found, expected) in rates.iter().zip([2e-2, 2e-3, 1e-2, 2e-4]) {
            assert!((found / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
        assert_eq!(recipe.with_learning_rate(1e-3), recipe, "the same rate changes nothing");
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
        recipe.freeze_stem(&["backbone.conv1.weight", "backbone.fc.bias"], &roles()).unwrap();
        let frozen: Vec<usize> = recipe.phases.iter().map(|phase| phase.freeze_new.len()).collect();
        assert_eq!(frozen, [1, 0, 0], "by its role");
        assert!(recipe.freeze_stem(&[], &Roles::default()).is_err(), "a network without a stem");
    }

    #[test]
    fn what_is_wrong_with_a_recipe_is_named() {
        let text = BUILT_IN[1].1;
        let why =
            |from: &str, to: &str| chain(&Recipe::parse(&text.replacen(from, to, 1), "my.toml").unwrap_err());
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
        assert!(why("\"@attention\"", "\"cbam_layer[\"").contains("phase"));
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
