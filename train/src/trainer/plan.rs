//! What learns in a phase, what stands still, and how fast.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::params::Params;
use crate::recipe::{FrozenBatchNorm, Phase};

/// What a phase means for the parameters of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Parameters that learn, each with the index of its group in [`Phase::rates`], in the network's order.
    pub trained: Vec<(String, usize)>,
    /// Parameters that do not change by a bit, in the network's order.
    pub frozen: Vec<String>,
    /// Batch-norm layers whose statistics stand still.
    pub frozen_norms: HashSet<String>,
}

impl Plan {
    /// What `phase` means for `params`, of which `new` were not loaded.
    pub fn new(
        params: &Params,
        phase: &Phase,
        frozen_bn: FrozenBatchNorm,
        new: &HashSet<String>,
    ) -> Result<Self, TrainError> {
        let names: Vec<&str> = params.trainable().map(|(name, _)| name).collect();
        let learns = phase.trained(names.iter().copied(), new).map_err(TrainError::Recipe)?;
        if learns.is_empty() {
            let text =
                format!("phase {:?} trains nothing: no parameter matches {:?}", phase.name, phase.train);
            return Err(TrainError::Recipe(text));
        }
        let groups = phase.assign(&names, new).map_err(TrainError::Recipe)?;
        let (trained, frozen): (Vec<_>, Vec<_>) =
            names.into_iter().zip(groups).partition(|(name, _)| learns.contains(name));
        let frozen: Vec<String> = frozen.into_iter().map(|(name, _)| name.into()).collect();
        let stand_still = match frozen_bn {
            FrozenBatchNorm::Eval => true,
            FrozenBatchNorm::Train => false,
            FrozenBatchNorm::Auto => !new.contains("backbone.conv1.weight"),
        };
        let is_norm = |layer: &str| params.get(&format!("{layer}.running_mean")).is_some();
        let frozen_norms = frozen
            .iter()
            .filter_map(|name| name.strip_suffix(".weight"))
            .filter(|layer| stand_still && is_norm(layer))
            .map(Into::into)
            .collect();
        let trained = trained.into_iter().map(|(name, group)| (name.to_owned(), group)).collect();
        Ok(Self { trained, frozen, frozen_norms })
    }

    /// What is written down of it.
    pub fn record(&self, phase: &str) -> PhaseRecord {
        let mut frozen_norms: Vec<String> = self.frozen_norms.iter().cloned().collect();
        frozen_norms.sort_unstable();
        PhaseRecord {
            name: phase.into(),
            trained: self.trained.iter().map(|(name, _)| name.clone()).collect(),
            frozen: self.frozen.clone(),
            frozen_norms,
        }
    }
}

/// A [`Plan`] as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Name of the phase.
    pub name: String,
    /// Parameters that learn.
    pub trained: Vec<String>,
    /// Parameters that do not change by a bit.
    pub frozen: Vec<String>,
    /// Batch-norm layers whose statistics stand still.
    pub frozen_norms: Vec<String>,
}
