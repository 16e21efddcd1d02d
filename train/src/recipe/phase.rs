//! Phases: what learns, and how fast.

use std::collections::HashSet;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;

/// A stretch of epochs with one choice of what learns, and how fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its name, for people.
    pub name: String,
    /// How long it lasts at most.
    pub epochs: usize,
    /// Learning rate of what no group names.
    pub learning_rate: f64,
    /// Learning rate of new parameters, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_learning_rate: Option<f64>,
    /// Patterns of the parameters that learn; new ones learn in any case.
    pub train: Vec<String>,
    /// Patterns of new parameters that are frozen all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze_new: Vec<String>,
    /// How the rates change within the phase.
    #[serde(default)]
    pub schedule: Schedule,
    /// Epochs, or parts of one, in which the rates climb from nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warm_up: f64,
    /// Parameters with a learning rate of their own; the first group that names one has it.
    #[serde(default, rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Parameters with a learning rate of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name, for people and metrics.
    pub name: String,
    /// Patterns of its parameters.
    pub parameters: Vec<String>,
    /// Their learning rate.
    pub learning_rate: f64,
}

impl Phase {
    /// What is wrong with it, if it cannot be followed.
    pub(super) fn check(&self) -> Result<(), String> {
        let fault = |what: String| Err(format!("phase {:?}: {what}", self.name));
        if self.epochs == 0 {
            return fault("it has no epochs".into());
        }
        let rates = [self.learning_rate].into_iter().chain(self.new_learning_rate);
        for rate in rates.chain(self.groups.iter().map(|group| group.learning_rate)) {
            if !(rate > 0.0 && rate.is_finite()) {
                return fault(format!("learning rates must be positive, not {rate}"));
            }
        }
        if !(0.0..=self.epochs as f64).contains(&self.warm_up) {
            return fault(format!("warm_up must be between 0 and its {} epochs", self.epochs));
        }
        let names = self.group_names();
        if names.iter().enumerate().any(|(index, name)| names[..index].contains(name)) {
            return fault(format!("two groups have one name: {}", names.join(", ")));
        }
        for patterns in
            [&self.train, &self.freeze_new].into_iter().chain(self.groups.iter().map(|g| &g.parameters))
        {
            self.patterns(patterns)?;
        }
        Ok(())
    }

    fn patterns(&self, patterns: &[String]) -> Result<GlobSet, String> {
        let build = || -> Result<GlobSet, globset::Error> {
            let mut set = GlobSetBuilder::new();
            for pattern in patterns {
                set.add(Glob::new(pattern)?);
            }
            set.build()
        };
        build().map_err(|error| format!("phase {:?}: {error}", self.name))
    }

    /// Those of `names` that learn: the ones the patterns match, and the new ones unless they are frozen by name.
    pub fn trained<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        new: &HashSet<String>,
    ) -> Result<HashSet<&'n str>, String> {
        let (train, freeze_new) = (self.patterns(&self.train)?, self.patterns(&self.freeze_new)?);
        let learns = |name: &&str| match new.contains(*name) {
            true => !freeze_new.is_match(name),
            false => train.is_match(name),
        };
        Ok(names.filter(learns).collect())
    }

    /// Names of the groups of learning rates, in the order of [`Self::rates`].
    pub fn group_names(&self) -> Vec<&str> {
        let rest: &[&str] = if self.new_learning_rate.is_some() { &["loaded", "new"] } else { &["all"] };
        self.groups.iter().map(|group| group.name.as_str()).chain(rest.iter().copied()).collect()
    }

    /// The learning rate of each group at the beginning of the phase.
    pub fn rates(&self) -> Vec<f64> {
        let own = self.groups.iter().map(|group| group.learning_rate);
        own.chain([self.learning_rate]).chain(self.new_learning_rate).collect()
    }

    /// The group of each of `names`, as an index into [`Self::rates`].
    pub fn assign(&self, names: &[&str], new: &HashSet<String>) -> Result<Vec<usize>, String> {
        let sets: Vec<GlobSet> =
            self.groups.iter().map(|group| self.patterns(&group.parameters)).collect::<Result<_, _>>()?;
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
        assert_eq!(phase.assign(&names, &new).unwrap(), [2, 0, 1, 0]);
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
        let trained = phase(text).trained(names.into_iter(), &new).unwrap();
        assert_eq!(trained, HashSet::from(["extra", "head"]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = "name = \"p\"\nepochs = 2\nlearning_rate = 1e-3\ntrain = [\"*\"]\n";
        let why =
            |more: &str| toml::from_str::<Phase>(&format!("{text}{more}")).unwrap().check().unwrap_err();
        assert!(why("warm_up = 3.0").contains("warm_up must be between 0 and its 2 epochs"));
        assert!(why("new_learning_rate = 0.0").contains("must be positive"));
        let group = "[[group]]\nname = \"all\"\nparameters = [\"a[\"]\nlearning_rate = 1.0\n";
        assert!(why(group).contains("two groups have one name"));
        assert!(why(&group.replace("\"all\"", "\"a\"")).contains("phase \"p\""));
    }
}
