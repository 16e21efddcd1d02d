//! What a run starts from: pretrained weights, nothing, or its own last state.

use std::collections::HashSet;

use anyhow::{Context, Result};
use ferronnx_models::checkpoint;
use ferronnx_train::params::Params;
use ferronnx_train::pretrained;
use ferronnx_train::run::{RunConfig, RunFolder, RunPlan};
use ferronnx_train::trainer::{Plan, Snapshot};

use crate::display;

/// What a run starts from.
pub struct Start {
    /// Parameters that were not loaded.
    pub new: HashSet<String>,
    /// What is written down of it.
    pub plan: RunPlan,
    /// The state of a run that was stopped.
    pub snapshot: Option<Snapshot>,
}

impl Start {
    /// The beginning of a run.
    pub fn fresh(config: &RunConfig, params: &Params) -> Result<Self> {
        let plan = load_pretrained(config, params)?;
        let new: HashSet<String> = plan.new.iter().cloned().collect();
        let phases = config.recipe.phases.iter();
        let plans = phases.map(|phase| {
            let plan = Plan::new(params, phase, config.recipe.frozen_bn, &new)?;
            Ok(plan.record(&phase.name))
        });
        let plan = RunPlan { phases: plans.collect::<Result<_>>()?, ..plan };
        Ok(Self { new, plan, snapshot: None })
    }

    /// Where a run stopped; its beginning when it had saved nothing.
    pub fn again(run: &RunFolder, config: &RunConfig, params: &Params) -> Result<Self> {
        let Some(snapshot) = run.last()? else { return Self::fresh(config, params) };
        let plan = run.plan()?;
        let position = &snapshot.position;
        say!("going on after epoch {}, step {}", position.epoch, position.step);
        Ok(Self { new: plan.new.iter().cloned().collect(), plan, snapshot: Some(snapshot) })
    }
}

/// Loads pretrained weights and says what became of each tensor.
fn load_pretrained(config: &RunConfig, params: &Params) -> Result<RunPlan> {
    let Some(file) = &config.pretrained else {
        say!("no pretrained weights: every layer is new and learns in every phase");
        return Ok(RunPlan { new: params.names().map(Into::into).collect(), ..RunPlan::default() });
    };
    let loaded = pretrained::load(params, &checkpoint::load(file)?, config.stem_init)
        .with_context(|| format!("--pretrained {}", file.display()))?;
    say!("pretrained weights: {} tensors loaded from {}", loaded.loaded.len(), file.display());
    let new: Vec<String> = params.names().filter(|name| loaded.new.contains(*name)).map(Into::into).collect();
    display::list("new", &if new.is_empty() { "none".into() } else { new.join(", ") });
    if !loaded.adapted.is_empty() {
        display::list("of these begun from the file's", &loaded.adapted.join(", "));
    }
    if !loaded.ignored.is_empty() {
        display::list("ignored", &loaded.ignored.join(", "));
    }
    Ok(RunPlan {
        loaded: loaded.loaded,
        new,
        adapted: loaded.adapted,
        ignored: loaded.ignored,
        phases: Vec::new(),
    })
}
