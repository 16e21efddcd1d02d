//! Arguments of `infer inspect`.

use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, ReportFormat};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer inspect
  infer inspect photos.onnx --device cuda
  infer inspect --format json | jq -r '.card.labels[]'

The content is shown even if the model cannot run here; an error then gives the reason.";

/// Arguments of `infer inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Model file, as with --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub file: Option<PathBuf>,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,

    /// Model, and the device it runs on.
    #[command(flatten)]
    pub model: ModelArgs,
}
