//! Arguments of `infer evaluate`.

use std::path::PathBuf;

use clap::Args;

use super::{AssumeArgs, ModelArgs, ReportFormat, ShardArgs, at_least_one, probability};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer evaluate --data photos
  infer evaluate --data photos --report report.html
  infer evaluate --data photos.csv --format json | jq .accuracy

Exit codes:
  0  all images were classified
  1  some images failed, the others were classified
  2  nothing could be done";

/// Arguments of `infer evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Labelled images: a folder, DIR/CLASS/*.jpg, or a list, `path,label[,split]`; the test images are used if it has
    /// splits, else the validation images
    #[arg(long, value_name = "DIR|LIST.csv")]
    pub data: PathBuf,

    /// Probability from which a class is selected, of models with several labels an image [default: the card's, else 0.5]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub threshold: Option<f32>,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,

    /// Write an HTML page with confusion matrix, ROC and precision-recall curves, calibration and the worst mistakes
    #[cfg(feature = "report")]
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// Batch size [default: 8 on the CPU; on a GPU 256, or 64 for images above 64x64]
    #[arg(long, value_name = "N", value_parser = at_least_one(4096))]
    pub batch: Option<usize>,

    /// Part of the images.
    #[command(flatten)]
    pub shard: ShardArgs,

    /// Model, and the device it runs on.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Facts about a model without a card.
    #[command(flatten)]
    pub assume: AssumeArgs,
}
