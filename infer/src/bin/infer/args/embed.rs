//! Arguments of `infer embed`.

use std::path::PathBuf;

use clap::Args;

use super::{AssumeArgs, ModelArgs, at_least_one};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer embed photos/ --out photos.npy
  infer embed photos/ --out photos.jsonl --normalize
  python3 -c \"import numpy; print(numpy.load('photos.npy').shape)\"

An embedding is what the last linear layer of the network reads. photos.npy has a row of 32-bit floats for each image, and \
photos.names.txt beside it the name of each row's image. photos.jsonl has an object a line: {\"path\":...,\"embedding\":[...]}. \
Images that fail are reported, and are in neither.

Exit codes:
  0  all images were embedded
  1  some images failed, the others were embedded
  2  nothing could be done";

/// Arguments of `infer embed`.
#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// Image files, folders to search for images, or `-` for an image on standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// File to write: .npy, with the names in .names.txt beside it, or .jsonl
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,

    /// Scale every embedding to length 1
    #[arg(long)]
    pub normalize: bool,

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
