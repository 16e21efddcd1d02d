//! Command line arguments.

mod bare;
mod compare;
mod completions;
mod distributed;
mod explain;
mod export;
mod find_lr;
mod fit;
mod man;
mod network;
mod setup;
mod summary;

use clap::{Parser, Subcommand};

pub use self::bare::BareArgs;
pub use self::compare::{CompareArgs, CompareFormat};
pub use self::completions::CompletionsArgs;
pub use self::distributed::DistributedArgs;
pub use self::explain::ExplainArgs;
pub use self::export::{ExportArgs, PrecisionArg};
pub use self::find_lr::FindLrArgs;
pub use self::fit::{DryRunFormat, FitArgs};
pub use self::man::ManArgs;
pub use self::network::NetworkArgs;
pub use self::setup::SetupArgs;
pub use self::summary::{SummaryArgs, SummaryFormat};

/// Train an image classifier and export it to ONNX, without Python.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  train fit --data photos --out runs/photos      train on photos/CLASS/*.jpg
  train export runs/photos -o model.onnx         export the model, verified against libtorch
  infer classify --model model.onnx photo.jpg    classify an image"
)]
pub struct Args {
    /// Subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network on a folder of images, or resume a run
    Fit(FitArgs),
    /// Find a learning rate: measure the loss at rising rates
    FindLr(FindLrArgs),
    /// Export a trained network to .onnx, verified against libtorch
    Export(ExportArgs),
    /// Overlay on an image what speaks for a class at any layer: LayerCAM
    Explain(ExplainArgs),
    /// Compare runs: accuracies, times, and the settings that differ
    Compare(CompareArgs),
    /// Show a network's layers: output shapes, parameters, multiply-accumulates
    Summary(SummaryArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Write man pages, one for each command
    Man(ManArgs),
}

/// Parses a positive, finite number.
fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match number > 0.0 && number.is_finite() {
        true => Ok(number),
        false => Err("must be positive".into()),
    }
}
