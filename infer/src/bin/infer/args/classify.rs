//! Arguments of `infer classify`.

use std::path::PathBuf;

use clap::Args;

use super::{AssumeArgs, BulkArgs, Format, ModelArgs, at_least_one, probability};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer classify cat.jpg
  infer classify photos/ --top-k 1 --format csv > photos.csv
  infer classify photos/ --format jsonl | jq -r '[.path, .predictions[0].label] | @tsv'
  curl -s https://example.org/cat.jpg | infer classify - --model cats.onnx
  infer classify 's3://photos/2026-{000..099}.tar' --out s3://photos/labels --shard auto/8
  infer classify --check s3://photos/labels

Exit codes:
  0    all images were classified; with --check: every input has one result, and none failed
  1    some images failed, the others were classified; with --check: something is missing, double or failed
  2    nothing could be done
  130  a job with --out was stopped: the same command goes on";

/// Arguments of `infer classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Images, folders to search, lists (.csv, .txt), tar and parquet files, as paths or as s3://, gs://, az:// or https://
    /// addresses, or `-` for an image on standard input
    #[arg(required_unless_present = "check", value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Number of classes to show for each image
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one(u64::MAX))]
    pub top_k: usize,

    /// Probability from which a class is selected, of models with several labels an image [default: the card's, else 0.5]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub threshold: Option<f32>,

    /// Output format [default: table; with --out: jsonl]
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Batch size [default: 8 on the CPU; on a GPU 256, or 64 for images above 64x64]
    #[arg(long, value_name = "N", value_parser = at_least_one(4096))]
    pub batch: Option<usize>,

    /// Model, and the device it runs on.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Output and division of a job.
    #[command(flatten)]
    pub bulk: BulkArgs,

    /// Facts about a model without a card.
    #[command(flatten)]
    pub assume: AssumeArgs,
}
