//! Subcommands, one file each.

mod bare;
pub mod compare;
pub mod completions;
pub mod explain;
pub mod export;
pub mod find_lr;
pub mod fit;
pub mod man;
pub mod summary;

use std::path::Path;

use anyhow::{Context, Result};
use ferronnx_models::card::Preprocessing;
use ferronnx_models::checkpoint::network::{self, Found};
use ferronnx_models::checkpoint::{self, Checkpoint, CheckpointError, FormatError};
use ferronnx_models::networks::Architecture;
use ferronnx_train::run::{RunConfig, in_words};
use globset::{Glob, GlobSetBuilder};

/// Reads the architecture of a run of this program; runs of other networks belong to the programs that define them.
fn architecture(config: &RunConfig, run: &Path) -> Result<Architecture> {
    serde_json::from_value(config.architecture.clone()).with_context(|| {
        let network = in_words(&config.architecture);
        format!("{} trains another network ({network}): use the program that defines it", run.display())
    })
}

/// Usual preprocessing of square images of `size` pixels for a network.
fn preprocessing(architecture: &Architecture, size: u32) -> Preprocessing {
    let usual = Preprocessing::for_size(size);
    if architecture.channels == 1 { usual.into_gray() } else { usual }
}

/// Tells a run folder from a checkpoint, which may be a folder, too. A folder with neither is taken for a run.
fn is_run(source: &Path) -> bool {
    let holds_no_weights =
        |error| matches!(error, CheckpointError::Format { source: FormatError::NoFile(_), .. });
    source.is_dir()
        && (source.join("config.toml").is_file() || checkpoint::file_in(source).is_err_and(holds_no_weights))
}

/// Reads the network of a checkpoint under `key`, without the tensors whose names match a pattern of `leave_out`.
fn network_in(path: &Path, key: Option<&str>, leave_out: &[String]) -> Result<Found> {
    let mut patterns = GlobSetBuilder::new();
    for pattern in leave_out {
        patterns.add(Glob::new(pattern).with_context(|| format!("--leave-out {pattern}"))?);
    }
    let patterns = patterns.build().context("--leave-out")?;
    let mut checkpoint = Checkpoint::open(path)?;
    let context = || path.display().to_string();
    if let Some(key) = key {
        checkpoint = checkpoint.under(key).context("--key").with_context(context)?;
    }
    network::find(&checkpoint, |name| patterns.is_match(name)).with_context(context)
}
