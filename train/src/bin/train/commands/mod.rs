//! Subcommands, one file each.

pub mod export;
pub mod fit;
pub mod summary;

use std::path::Path;

use anyhow::{Context, Result};
use ferronnx_models::resnet::Architecture;
use ferronnx_train::run::{RunConfig, in_words};

/// Reads the architecture of a run of this program; runs of other networks belong to the programs that define them.
fn architecture(config: &RunConfig, run: &Path) -> Result<Architecture> {
    serde_json::from_value(config.architecture.clone()).with_context(|| {
        let network = in_words(&config.architecture);
        format!("{} trains another network ({network}): use the program that defines it", run.display())
    })
}
