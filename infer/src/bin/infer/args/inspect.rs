//! Arguments of `infer inspect`.

use clap::Args;

use super::{ModelArgs, ReportFormat};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer inspect
  infer inspect --model photos.onnx --device cuda
  infer inspect --format json | jq -r '.card.labels[]'

The content is shown even if the model cannot run here; an error then gives the reason.";

/// Arguments of `infer inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,

    /// Model, and the device it runs on.
    #[command(flatten)]
    pub model: ModelArgs,
}
