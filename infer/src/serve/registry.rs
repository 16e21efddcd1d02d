//! Models of a server, by name and version.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::engine::Engine;
use super::failure::Failure;
use super::metrics::{Metrics, ModelLabels, ModelMetrics};
use crate::model_spec::{MAX_NAME, ModelSpec};

/// Model of a server, whose engine is replaced when its file is.
pub(crate) struct Slot {
    pub(crate) spec: ModelSpec,
    metrics: Arc<ModelMetrics>,
    engine: ArcSwapOption<Engine>,
}

impl Slot {
    /// Engine that answers requests from now on; none before the file was loaded.
    pub(crate) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.load_full()
    }

    /// Replaces the engine. Requests that have the old one finish on it.
    pub(crate) fn replace(&self, engine: Engine) {
        self.engine.store(Some(Arc::new(engine)));
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(crate) fn version(&self) -> &str {
        &self.spec.version
    }

    pub(crate) fn path(&self) -> &Path {
        &self.spec.path
    }

    /// Metrics of the model, whichever file it has.
    pub(crate) fn metrics(&self) -> &Arc<ModelMetrics> {
        &self.metrics
    }
}

/// Models of a server.
pub(crate) struct Registry {
    /// Sorted by name, and within a name from the highest version to the lowest.
    slots: Vec<Slot>,
}

/// Two models of the same name and version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two models are called {0}:{1}: give one another name or version, as NAME:2=FILE")]
pub struct DuplicateModel(String, String);

impl Registry {
    /// Creates slots without engines, and their series in `metrics`.
    ///
    /// # Errors
    /// [`DuplicateModel`].
    pub(crate) fn new(mut specs: Vec<ModelSpec>, metrics: &Metrics) -> Result<Self, DuplicateModel> {
        let rank = |version: &str| (version.parse::<u64>().ok(), version.to_owned());
        specs.sort_by_key(|spec| (spec.name.clone(), Reverse(rank(&spec.version))));
        let same = |pair: &&[ModelSpec]| pair[0].name == pair[1].name && pair[0].version == pair[1].version;
        if let Some(pair) = specs.windows(2).find(same) {
            return Err(DuplicateModel(pair[0].name.clone(), pair[0].version.clone()));
        }
        let slots = specs.into_iter().map(|spec| {
            let labels = ModelLabels { model: spec.name.clone(), version: spec.version.clone() };
            Slot { metrics: Arc::new(metrics.model(labels)), spec, engine: ArcSwapOption::empty() }
        });
        Ok(Self { slots: slots.collect() })
    }

    /// All models, sorted by name, the highest version of each first.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Versions of a model, the highest first; none if there is no such model.
    pub(crate) fn versions(&self, name: &str) -> Vec<&str> {
        self.slots.iter().filter(|slot| slot.name() == name).map(Slot::version).collect()
    }

    /// Finds a model; without a version, the highest. An empty version is none, as gRPC has it.
    ///
    /// # Errors
    /// [`Failure::NotFound`].
    pub(crate) fn find(&self, name: &str, version: Option<&str>) -> Result<&Slot, Failure> {
        let version = version.filter(|version| !version.is_empty());
        let named = || self.slots.iter().filter(|slot| slot.name() == name);
        let found = named().find(|slot| version.is_none_or(|version| slot.version() == version));
        found.ok_or_else(|| {
            let shown = crate::escape::text(name).chars().take(MAX_NAME).collect::<String>();
            Failure::NotFound(match named().next() {
                Some(_) => format!("the model `{shown}` has the versions {}", self.versions(name).join(", ")),
                None => format!("there is no model `{shown}`: this server has {}", self.names().join(", ")),
            })
        })
    }

    /// Finds the only model, or its highest version.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when there are several models.
    pub(crate) fn only(&self) -> Result<&Slot, Failure> {
        match &self.names()[..] {
            [name] => self.find(name, None),
            names => Err(Failure::Invalid(format!("choose one with ?model=NAME: {}", names.join(", ")))),
        }
    }

    /// Names of the models.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.slots.iter().map(Slot::name).collect();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_is_the_default() {
        let specs = ["m:9=a", "m:10=b", "m:beta=c", "n=d"].map(|text| text.parse().unwrap());
        let registry = Registry::new(specs.to_vec(), &Metrics::default()).unwrap();
        assert_eq!(registry.find("m", None).unwrap().version(), "10");
        assert_eq!(registry.find("m", Some("")).unwrap().version(), "10");
        assert_eq!(registry.versions("m"), ["10", "9", "beta"]);
        assert!(matches!(registry.find("m", Some("2")), Err(Failure::NotFound(_))));
        assert!(matches!(registry.find("x", None), Err(Failure::NotFound(_))));
        assert!(matches!(registry.only(), Err(Failure::Invalid(_))));
        let twice = ["m=a", "m:1=b"].map(|text| text.parse().unwrap());
        assert!(Registry::new(twice.to_vec(), &Metrics::default()).is_err());
    }
}
