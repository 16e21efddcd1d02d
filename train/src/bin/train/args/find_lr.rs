//! Flags of `train find-lr`.

use std::path::PathBuf;

use super::positive;
use super::setup::SetupArgs;
use super::summary::SummaryFormat;

/// Flags of `train find-lr`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train find-lr --data photos
  train find-lr --data photos --recipe my.toml --batch-size 128
  train find-lr --data photos --pretrained imagenet --from 1e-6 --to 1 --steps 200
  train find-lr --data photos --format json

Trains the first phase of the recipe for some steps at rising learning rates; keeps only the page.
Use the suggestion with the same flags: train fit ... --learning-rate X"
)]
pub struct FindLrArgs {
    /// Folder of class folders, list of images, cifar10, or cifar10:PATH
    #[arg(long, value_name = "DIR|LIST.csv|cifar10[:PATH]")]
    pub data: PathBuf,
    /// Learning rate of the first step
    #[arg(long, value_name = "X", default_value = "1e-7", value_parser = positive, allow_negative_numbers = true)]
    pub from: f64,
    /// Learning rate of the last step; training that diverges ends before
    #[arg(long, value_name = "X", default_value = "10", value_parser = positive, allow_negative_numbers = true)]
    pub to: f64,
    /// Number of steps
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..))]
    pub steps: u32,
    /// Page to write, with the plot
    #[arg(long, value_name = "FILE", default_value = "lr-finder.html")]
    pub report: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: SummaryFormat,
    /// Settings of the run.
    #[command(flatten)]
    pub setup: SetupArgs,
}
