//! Start of a run: random weights, pretrained weights, or its own last state.

use std::collections::HashSet;

use ferronnx_models::Module;
use ferronnx_models::checkpoint::{Checkpoint, CheckpointError};

use super::{RunConfig, RunError, RunFolder, RunPlan};
use crate::params::Params;
use crate::pretrained;
use crate::trainer::{Plan, Snapshot};

/// Everything that a run starts with, besides its images.
#[derive(Debug)]
pub(super) struct Start {
    /// Parameters that were not loaded.
    pub new: HashSet<String>,
    /// Content of `plan.json`.
    pub plan: RunPlan,
    /// Saved state of a run that was stopped.
    pub snapshot: Option<Snapshot>,
}

impl Start {
    /// Starts from the first step, with pretrained weights if the configuration names some.
    pub fn fresh(config: &RunConfig, network: &impl Module, params: &Params) -> Result<Self, RunError> {
        let roles = network.roles();
        let plan = match &config.pretrained {
            Some(file) => {
                let mut checkpoint = Checkpoint::open(file)?;
                if let Some(key) = &config.pretrained_key {
                    let failed = |source| CheckpointError::Format { path: file.clone(), source };
                    checkpoint = checkpoint.under(key).map_err(failed)?;
                }
                let loaded = pretrained::load(params, &checkpoint, config.stem_init, &roles)
                    .map_err(|source| RunError::Pretrained { path: file.clone(), source: source.into() })?;
                let new = params.names().filter(|name| loaded.new.contains(*name)).map(Into::into);
                RunPlan {
                    new: new.collect(),
                    loaded: loaded.loaded,
                    summed: loaded.summed,
                    adapted: loaded.adapted,
                    ignored: loaded.ignored,
                    prefix: loaded.prefix,
                    alternatives: loaded.alternatives,
                    ..RunPlan::default()
                }
            }
            None => RunPlan { new: params.names().map(Into::into).collect(), ..RunPlan::default() },
        };
        let new: HashSet<String> = plan.new.iter().cloned().collect();
        let phases = config.recipe.phases.iter().map(|phase| {
            let plan = Plan::new(params, &roles, phase, config.recipe.frozen_bn, &new)?;
            Ok(plan.record(&phase.name))
        });
        let phases = phases.collect::<Result<_, _>>().map_err(|source| config.recipe_error(source))?;
        Ok(Self { new, plan: RunPlan { phases, ..plan }, snapshot: None })
    }

    /// Starts from the last saved state; from the first step when none was saved.
    pub fn resumed(
        folder: &RunFolder,
        config: &RunConfig,
        network: &impl Module,
        params: &Params,
    ) -> Result<Self, RunError> {
        let Some(snapshot) = folder.last()? else { return Self::fresh(config, network, params) };
        let plan = folder.plan()?;
        Ok(Self { new: plan.new.iter().cloned().collect(), plan, snapshot: Some(snapshot) })
    }
}
