//! Effect of a phase on a network: trained and frozen parameters, learning rate groups, frozen batch norms.

use std::collections::HashSet;

use ferronnx_models::Roles;
use serde::{Deserialize, Serialize};

use crate::params::Params;
use crate::recipe::{FrozenBatchNorm, PatternError, Phase, PhaseFault, RecipeFault};

/// Trained and frozen parameters of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Parameters that learn, in the network's order, each with the index of its group in [`Phase::rates`].
    pub trained: Vec<(String, usize)>,
    /// Parameters that stay the same to the bit, in the network's order.
    pub frozen: Vec<String>,
    /// Batch-norm layers whose running statistics are used and kept.
    pub frozen_norms: HashSet<String>,
}

impl Plan {
    /// Applies `phase` to the parameters of a network with these roles, of which `new` were not loaded.
    ///
    /// # Errors
    /// [`RecipeFault::Phase`] when a pattern is not valid, a role is not declared, or nothing learns.
    pub fn new(
        params: &Params,
        roles: &Roles,
        phase: &Phase,
        frozen_bn: FrozenBatchNorm,
        new: &HashSet<String>,
    ) -> Result<Self, RecipeFault> {
        let names: Vec<&str> = params.trainable().map(|(name, _)| name).collect();
        let fault = |error: PatternError| phase.fault(error.into());
        let learns = phase.trained(names.iter().copied(), new, roles).map_err(fault)?;
        if learns.is_empty() {
            return Err(phase.fault(PhaseFault::TrainsNothing(phase.train.clone())));
        }
        let stand_still = match frozen_bn {
            FrozenBatchNorm::Eval => true,
            FrozenBatchNorm::Train => false,
            // The first parameter is the stem's, whose output the loaded statistics describe.
            FrozenBatchNorm::Auto => !names.first().is_some_and(|name| new.contains(*name)),
        };
        let groups = phase.assign(&names, new, roles).map_err(fault)?;
        let (trained, frozen): (Vec<_>, Vec<_>) =
            names.into_iter().zip(groups).partition(|(name, _)| learns.contains(name));
        let frozen: Vec<String> = frozen.into_iter().map(|(name, _)| name.into()).collect();
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

    /// Names the groups of learning rates that no parameter that learns belongs to.
    pub fn empty_groups<'p>(&self, phase: &'p Phase) -> Vec<&'p str> {
        let used: HashSet<usize> = self.trained.iter().map(|(_, group)| *group).collect();
        let names = phase.group_names().into_iter().enumerate();
        names.filter(|(group, _)| !used.contains(group)).map(|(_, name)| name).collect()
    }

    /// Converts the plan to its serialised form.
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

/// Serialised form of a [`Plan`], as in `plan.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Name of the phase.
    pub name: String,
    /// Parameters that learn.
    pub trained: Vec<String>,
    /// Parameters that stay the same to the bit.
    pub frozen: Vec<String>,
    /// Batch-norm layers whose running statistics are used and kept.
    pub frozen_norms: Vec<String>,
}
