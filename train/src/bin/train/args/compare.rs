//! Flags of `train compare`.

use std::path::PathBuf;

use clap::ValueEnum;

/// Flags of `train compare`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train compare runs/a runs/b
  train compare runs/* --report compare.html
  train compare runs/* --format csv > runs.csv"
)]
pub struct CompareArgs {
    /// Run folders; files among them are left out
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: CompareFormat,
    /// Page to write, with the curves of all runs
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Values of `--format` of `train compare`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// Table
    Table,
    /// One JSON object
    Json,
    /// CSV with a header
    Csv,
    /// Table in Markdown
    Markdown,
}
