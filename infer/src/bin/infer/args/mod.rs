//! Arguments of the program, one file per command.

#[cfg(feature = "bench")]
mod bench;
mod bulk;
mod classify;
mod completions;
mod embed;
mod evaluate;
mod explain;
mod inspect;
mod man;
mod model;
#[cfg(feature = "serve")]
mod serve;
mod similar;
mod triton_repo;
mod verify;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand, ValueEnum};

#[cfg(feature = "bench")]
pub use bench::BenchArgs;
pub use bulk::{BulkArgs, ShardArgs};
pub use classify::ClassifyArgs;
pub use completions::CompletionsArgs;
pub use embed::EmbedArgs;
pub use evaluate::EvaluateArgs;
pub use explain::ExplainArgs;
pub use inspect::InspectArgs;
pub use man::ManArgs;
#[cfg(feature = "bench")]
pub use model::EngineArgs;
use model::probability;
pub use model::{AssumeArgs, FileArgs, ModelArgs};
#[cfg(feature = "serve")]
pub use serve::{LogFormat, ServeArgs};
pub use similar::SimilarArgs;
pub use triton_repo::TritonRepoArgs;
pub use verify::VerifyArgs;

/// Run exported image classifiers on ONNX Runtime.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure latency and throughput of a model
    #[cfg(feature = "bench")]
    #[command(after_help = bench::HELP)]
    Bench(BenchArgs),
    /// Classify images
    #[command(after_help = classify::HELP)]
    Classify(ClassifyArgs),
    /// Compute embeddings of images
    #[command(after_help = embed::HELP)]
    Embed(EmbedArgs),
    /// Measure accuracy on labelled images
    #[command(after_help = evaluate::HELP)]
    Evaluate(EvaluateArgs),
    /// Overlay on an image what the network attends to, or what spoke for a class
    #[command(after_help = explain::HELP)]
    Explain(ExplainArgs),
    /// Show a model's card, inputs, outputs, operators and sizes
    #[command(after_help = inspect::HELP)]
    Inspect(InspectArgs),
    /// Serve models over HTTP and gRPC
    #[cfg(feature = "serve")]
    #[command(after_help = serve::HELP)]
    Serve(Box<ServeArgs>),
    /// Find the images that are most similar to an image
    #[command(after_help = similar::HELP)]
    Similar(SimilarArgs),
    /// Write a model repository for Triton Inference Server
    #[command(after_help = triton_repo::HELP)]
    TritonRepo(TritonRepoArgs),
    /// Check that a model file is unchanged and computes the same on this machine
    #[command(after_help = verify::HELP)]
    Verify(VerifyArgs),
    /// Print completions for a shell
    #[command(after_help = completions::HELP)]
    Completions(CompletionsArgs),
    /// Write man pages, one for each command
    #[command(after_help = man::HELP)]
    Man(ManArgs),
}

/// Format of the results of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people
    Table,
    /// JSON array with an object per image
    Json,
    /// JSON object per line, as soon as it is known
    Jsonl,
    /// Row per image and class
    Csv,
    #[cfg_attr(feature = "cloud", doc = "Row per image with its classes as a list, for --out")]
    #[cfg_attr(not(feature = "cloud"), doc = "Of other builds only, which have the feature `cloud`")]
    Parquet,
}

/// Format of a result about one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ReportFormat {
    /// Text for people
    #[default]
    Text,
    /// JSON object
    Json,
}

/// Format of a benchmark.
#[cfg(feature = "bench")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum BenchFormat {
    /// Text for people
    #[default]
    Table,
    /// JSON object
    Json,
    /// Row per combination
    Csv,
    /// Markdown table
    Markdown,
}

/// Parses a duration in seconds.
#[cfg(any(feature = "bench", feature = "serve"))]
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=86_400.0).contains(&number) => Ok(number),
        _ => Err("expected seconds, as 0.5".into()),
    }
}

/// Parses a number that is not negative.
fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..f64::INFINITY).contains(&number) => Ok(number),
        _ => Err("expected a number that is not negative, as 1e-3".into()),
    }
}

/// Parser of whole numbers from 1 to `most`.
fn at_least_one(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
