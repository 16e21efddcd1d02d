//! Arguments of `infer bench`.

use std::path::PathBuf;

use clap::Args;
use ferronnx_infer::Device;

use super::{AssumeArgs, BenchFormat, EngineArgs, FileArgs, at_least_one, not_negative, seconds};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer bench
  infer bench photos.onnx --batch 1,8,32 --threads 1,2 --report bench.html
  infer bench --images photos --format json > bench.json
  infer bench --compare bench.json --fail-above 1.1

A pass turns a batch that is ready into logits. A measurement is stable if the medians of the first and second half of \
its passes are within 5 % of each other, and the middle half of the passes is within 10 % of the median.

Exit codes:
  0  measured
  1  measured, and slower than --fail-above allows
  2  nothing could be measured";

/// Arguments of `infer bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Model file, as with --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub file: Option<PathBuf>,

    /// Batch sizes, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,8", value_parser = at_least_one(4096))]
    pub batch: Vec<usize>,

    /// Numbers of threads, separated by commas [default: one per core, within the CPU quota]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = at_least_one(1024))]
    pub threads: Vec<usize>,

    /// Devices (auto, cpu, cuda or cuda:N), separated by commas
    #[arg(long, value_delimiter = ',', default_value = "auto")]
    pub device: Vec<Device>,

    /// Images to run on; measures decoding and preprocessing too [default: generated numbers]
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,

    /// Seconds to measure each combination
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,

    /// Seconds to warm up each combination
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = seconds)]
    pub warm_up: f64,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: BenchFormat,

    /// Write an HTML page with plots of latency, throughput and distribution
    #[cfg(feature = "report")]
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// Compare with an earlier result of `--format json`: show each median as a multiple of it
    #[arg(long, value_name = "FILE.json")]
    pub compare: Option<PathBuf>,

    /// Exit with 1 when a median is more than this multiple of the earlier one
    #[arg(long, value_name = "RATIO", requires = "compare", value_parser = not_negative)]
    pub fail_above: Option<f64>,

    /// Model and runtime library.
    #[command(flatten)]
    pub files: FileArgs,

    /// Settings of the engine.
    #[command(flatten)]
    pub engine: EngineArgs,

    /// Facts about a model without a card, for `--images`.
    #[command(flatten)]
    pub assume: AssumeArgs,
}
