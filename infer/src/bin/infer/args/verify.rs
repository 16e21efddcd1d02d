//! Arguments of `infer verify`.

use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, ReportFormat, not_negative};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer verify
  infer verify photos.onnx --device cuda
  infer verify photos.onnx --format json | jq .holds

The certificate inside the file holds digests of weights, labels and preprocessing, and images with the logits that \
libtorch computed for them at the export. All of it is computed again here. On a GPU the file also runs on the CPU, in \
full arithmetic, where smaller changes are seen.

Exit codes:
  0  the file is unchanged and computes the same here
  1  the file was changed, or computes something else
  2  nothing could be checked";

/// Arguments of `infer verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Model file, as with --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub file: Option<PathBuf>,

    /// Largest difference of a logit to allow, relative to the largest [default: by precision and arithmetic]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub tolerance: Option<f64>,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,

    /// Model, and the device it runs on.
    #[command(flatten)]
    pub model: ModelArgs,
}
