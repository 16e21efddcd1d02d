//! Phases of a recipe: trained parameters and their learning rates.

use std::collections::HashSet;

use ferronnx_models::Roles;
use globset::GlobSet;
use serde::{Deserialize, Serialize};

use super::error::{PhaseFault, RecipeFault};
use super::patterns::{PatternError, check_matches, check_syntax, compile};
use super::schedule::Schedule;
use crate::error::SettingError;

/// A stretch of epochs in which the same parameters learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Name of the phase, for people and metrics.
    pub name: String,
    /// Number of epochs; early stopping may end the phase before.
    pub epochs: usize,
    /// Learning rate of parameters in no group.
    pub learning_rate: f64,
    /// Learning rate of new parameters, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_learning_rate: Option<f64>,
    /// Patterns or roles of the parameters that learn; new parameters learn in any case.
    pub train: Vec<String>,
    /// Patterns or roles of new parameters that are frozen nevertheless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze_new: Vec<String>,
    /// Change of the learning rates within the phase.
    #[serde(default)]
    pub schedule: Schedule,
    /// Epochs, or fractions of one, in which the learning rates rise from zero.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warm_up: f64,
    /// Groups with learning rates of their own; a parameter belongs to the first group that matches it.
    #[serde(default, rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// A group of parameters with a learning rate of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name of the group, for people and metrics.
    pub name: String,
    /// Patterns or roles of the parameters.
    pub parameters: Vec<String>,
    /// Learning rate of the parameters.
    pub learning_rate: f64,
}

impl Phase {
    /// Names this phase in a fault.
    pub(crate) fn fault(&self, source: PhaseFault) -> RecipeFault {
        RecipeFault::Phase { phase: self.name.clone(), source }
    }

    /// Checks all that does not depend on a network.
    pub(super) fn check(&self) -> Result<(), PhaseFault> {
        if self.epochs == 0 {
            return Err(PhaseFault::NoEpochs);
        }
        let rates = [self.learning_rate].into_iter().chain(self.new_learning_rate);
        for rate in rates.chain(self.groups.iter().map(|group| group.learning_rate)) {
            if !(rate > 0.0 && rate.is_finite()) {
                return Err(SettingError::new("learning rates", "positive", rate).into());
            }
        }
        if !(0.0..=self.epochs as f64).contains(&self.warm_up) {
            let expected = format!("between 0 and its {} epochs", self.epochs);
            return Err(SettingError::new("warm_up", expected, self.warm_up).into());
        }
        if self.schedule.has_peak() && self.warm_up > 0.0 {
            let expected = "0 for a schedule that rises by itself (see cycle.rise)";
            return Err(SettingError::new("warm_up", expected, self.warm_up).into());
        }
        let names = self.group_names();
        if names.iter().enumerate().any(|(index, name)| names[..index].contains(name)) {
            return Err(PhaseFault::SameGroup(names.join(", ")));
        }
        self.patterns().try_for_each(check_syntax)?;
        Ok(())
    }

    /// Checks that every pattern and role matches a parameter, and that something learns.
    pub(super) fn check_names(&self, names: &[&str], roles: &Roles) -> Result<(), PhaseFault> {
        Ok(self.patterns().try_for_each(|patterns| check_matches(patterns, names, roles))?)
    }

    fn patterns(&self) -> impl Iterator<Item = &[String]> {
        let groups = self.groups.iter().map(|group| &group.parameters[..]);
        [&self.train[..], &self.freeze_new[..]].into_iter().chain(groups)
    }

    /// Selects the parameters that learn: matching ones, and new ones unless they are frozen by name.
    ///
    /// # Errors
    /// [`PatternError`] when a pattern is not valid or the network does not declare a role.
    pub fn trained<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        new: &HashSet<String>,
        roles: &Roles,
    ) -> Result<HashSet<&'n str>, PatternError> {
        let (train, freeze_new) = (compile(&self.train, roles)?, compile(&self.freeze_new, roles)?);
        let learns = |name: &&str| match new.contains(*name) {
            true => !freeze_new.is_match(name),
            false => train.is_match(name),
        };
        Ok(names.filter(learns).collect())
    }

    /// True if the patterns train a parameter of the stem.
    pub(super) fn trains_stem(&self, names: &[&str], roles: &Roles) -> Result<bool, PhaseFault> {
        let (train, stem) = (compile(&self.train, roles)?, compile(&["@stem".into()], roles)?);
        Ok(names.iter().any(|name| stem.is_match(name) && train.is_match(name)))
    }

    /// Names of the groups of learning rates, in the order of [`Self::rates`].
    pub fn group_names(&self) -> Vec<&str> {
        let rest: &[&str] = if self.new_learning_rate.is_some() { &["loaded", "new"] } else { &["all"] };
        self.groups.iter().map(|group| group.name.as_str()).chain(rest.iter().copied()).collect()
    }

    /// Learning rate of each group at the beginning of the phase.
    pub fn rates(&self) -> Vec<f64> {
        let own = self.groups.iter().map(|group| group.learning_rate);
        own.chain([self.learning_rate]).chain(self.new_learning_rate).collect()
    }

    /// Copies the phase with all its learning rates multiplied by `factor`.
    pub(super) fn with_rates_times(&self, factor: f64) -> Self {
        let groups = self.groups.iter();
        Self {
            learning_rate: self.learning_rate * factor,
            new_learning_rate: self.new_learning_rate.map(|rate| rate * factor),
            groups: groups
                .map(|group| Group { learning_rate: group.learning_rate * factor, ..group.clone() })
                .collect(),
            ..self.clone()
        }
    }

    /// Assigns each parameter to a group, as an index into [`Self::rates`].
    ///
    /// # Errors
    /// [`PatternError`] when a pattern is not valid or the network does not declare a role.
    pub fn assign(
        &self,
        names: &[&str],
        new: &HashSet<String>,
        roles: &Roles,
    ) -> Result<Vec<usize>, PatternError> {
        let sets: Vec<GlobSet> =
            self.groups.iter().map(|group| compile(&group.parameters, roles)).collect::<Result<_, _>>()?;
        let rest =
            |name: &str| sets.len() + usize::from(self.new_learning_rate.is_some() && new.contains(name));
        let group =
            |&name: &&str| sets.iter().position(|set| set.is_match(name)).unwrap_or_else(|| rest(name));
        Ok(names.iter().map(group).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;

    fn phase(text: &str) -> Phase {
        let phase: Phase = toml::from_str(text).unwrap();
        phase.check().unwrap();
        phase
    }

    #[test]
    fn rates_go_by_group_then_by_what_is_new() {
        let phase = phase(
            r#"
            name = "p"
            epochs = 2
            learning_rate = 1e-5
            new_learning_rate = 1e-3
            train = ["*"]
            [[group]]
            name = "norms"
            parameters = ["*.bn*"]
            learning_rate = 2e-4
            "#,
        );
        let new = HashSet::from(["head".to_owned(), "stem.bn1".to_owned()]);
        assert_eq!(phase.group_names(), ["norms", "loaded", "new"]);
        assert_eq!(phase.rates(), [2e-4, 1e-5, 1e-3]);
        let names = ["head", "stem.bn1", "layer1.conv", "layer1.bn2"];
        assert_eq!(phase.assign(&names, &new, &Roles::default()).unwrap(), [2, 0, 1, 0]);
    }

    #[test]
    fn what_is_new_is_frozen_by_name_only() {
        let text = r#"
            name = "p"
            epochs = 1
            learning_rate = 1e-3
            train = ["head"]
            freeze_new = ["stem*"]
        "#;
        let new = HashSet::from(["stem".to_owned(), "extra".to_owned()]);
        let names = ["stem", "extra", "head", "body"];
        let trained = phase(text).trained(names.into_iter(), &new, &Roles::default()).unwrap();
        assert_eq!(trained, HashSet::from(["extra", "head"]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = "name = \"p\"\nepochs = 2\nlearning_rate = 1e-3\ntrain = [\"*\"]\n";
        let why = |more: &str| {
            let phase = toml::from_str::<Phase>(&format!("{text}{more}")).unwrap();
            chain(&phase.fault(phase.check().unwrap_err()))
        };
        assert!(why("warm_up = 3.0").contains("warm_up must be between 0 and its 2 epochs"));
        assert!(why("new_learning_rate = 0.0").contains("must be positive"));
        let group = "[[group]]\nname = \"all\"\nparameters = [\"a[\"]\nlearning_rate = 1.0\n";
        assert!(why(group).contains("two groups have one name"));
        assert!(why(&group.replace("\"all\"", "\"a\"")).contains("phase \"p\""));
    }
}
