//! Flags of `train summary`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::NetworkArgs;

/// Flags of `train summary`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train summary                          the default network, with 10 classes
  train summary --network resnet50 --attention se --attention-at blocks
  train summary runs/photos
  train summary resnet18.pth --image-size 224 --format json"
)]
pub struct SummaryArgs {
    /// Run folder, or a checkpoint (a .safetensors or .pth file, or a folder of Hugging Face) [default: the network of a new run]
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub source: Option<PathBuf>,
    /// Network, where no run and no checkpoint says it.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Height and width of the input [default: the run's; else 32 for a 3x3 stem, 224 for a 7x7 one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub image_size: Option<u32>,
    /// Bare checkpoint: key of the weights, where the file holds several networks, such as model_ema
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Bare checkpoint: pass over tensors with these names, though they may belong to further layers (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub leave_out: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: SummaryFormat,
}

/// Values of `--format` of `train summary` and `train find-lr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SummaryFormat {
    /// Table
    Table,
    /// One JSON object
    Json,
}
