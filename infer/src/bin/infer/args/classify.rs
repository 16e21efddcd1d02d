//! Arguments of `infer classify`.

use std::path::PathBuf;

use clap::Args;

use super::{AssumeArgs, Format, ModelArgs, at_least_one, probability};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer classify cat.jpg
  infer classify photos/ --top-k 1 --format csv > photos.csv
  infer classify photos/ --format jsonl | jq -r '[.path, .predictions[0].label] | @tsv'
  curl -s https://example.org/cat.jpg | infer classify - --model cats.onnx

Exit codes:
  0  all images were classified
  1  some images failed, the others were classified
  2  nothing could be done";

/// Arguments of `infer classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Image files, folders to search for images, or `-` for an image on standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Number of classes to show for each image
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one(u64::MAX))]
    pub top_k: usize,

    /// Probability from which a class is selected, of models with several labels an image [default: the card's, else 0.5]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub threshold: Option<f32>,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// Batch size [default: 8 on the CPU; on a GPU 256, or 64 for images above 64x64]
    #[arg(long, value_name = "N", value_parser = at_least_one(4096))]
    pub batch: Option<usize>,

    /// Model, and the device it runs on.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Facts about a model without a card.
    #[command(flatten)]
    pub assume: AssumeArgs,
}
