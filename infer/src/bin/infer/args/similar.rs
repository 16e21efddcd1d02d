//! Arguments of `infer similar`.

use std::path::PathBuf;

use clap::Args;

use super::{AssumeArgs, ModelArgs, at_least_one};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer similar cat.jpg --in photos/
  infer embed photos/ --out photos.npy && infer similar cat.jpg --in photos.npy --top 10
  infer similar cat.jpg --in photos.npy --json | jq -r '.neighbours[].path'

The similarity is the cosine of the angle between the embeddings of two images, from -1 to 1. A file of embeddings has to be \
one of `infer embed` with the same model: the first of its images that still exists is embedded again to check that.

Exit codes:
  0  all images were compared
  1  some images of the folder failed, the others were compared
  2  nothing could be done";

/// Arguments of `infer similar`.
#[derive(Debug, Args)]
pub struct SimilarArgs {
    /// Image to compare with
    #[arg(value_name = "PHOTO")]
    pub photo: PathBuf,

    /// Folder of images, or a file of `infer embed`: .npy or .jsonl
    #[arg(long = "in", value_name = "FOLDER|FILE")]
    pub among: PathBuf,

    /// Number of images to show
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one(u64::MAX))]
    pub top: usize,

    /// Print a JSON object
    #[arg(long)]
    pub json: bool,

    /// Model, and the device it runs on.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Facts about a model without a card.
    #[command(flatten)]
    pub assume: AssumeArgs,
}
