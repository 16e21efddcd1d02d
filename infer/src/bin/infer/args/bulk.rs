//! Arguments of jobs over many images.

use std::env;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use clap::Args;
use ferronnx_infer::bulk::{self, PART_SIZE, Shard, ShardError};
use ferronnx_infer::error::chain;
use ferronnx_infer::places::Place;

use super::at_least_one;
use crate::messages;

/// Output and division of a job.
#[derive(Debug, Args)]
#[command(next_help_heading = "Large jobs")]
pub struct BulkArgs {
    /// Write the results in parts (part-00003.jsonl) to a folder, or to s3://, gs:// or az://; what is done is skipped
    #[arg(long, value_name = "PLACE", value_parser = place)]
    pub out: Option<Place>,

    /// Part of the inputs.
    #[command(flatten)]
    pub shard: ShardArgs,

    /// Largest number of images in a part; a tar or parquet file is a part of its own
    #[arg(long, value_name = "N", default_value_t = PART_SIZE, value_parser = at_least_one(1 << 24), requires = "out")]
    pub part_size: usize,

    /// Replace the results of another model or of other settings in --out
    #[arg(long, requires = "out")]
    pub overwrite: bool,

    /// Check the results in PLACE: count inputs, results and failures, and name what is missing or double
    #[arg(long, value_name = "PLACE", value_parser = place, conflicts_with_all = ["out", "part_size"])]
    pub check: Option<Place>,
}

/// Part of the inputs.
#[derive(Debug, Args)]
pub struct ShardArgs {
    /// Take shard I of N only, counted from 0 (0/4 to 3/4), by the names of the inputs. `auto/N` takes I from a Kubernetes
    /// Indexed Job, a SLURM array (less its smallest number) or an AWS Batch array
    #[arg(long, value_name = "I/N|auto/N")]
    shard: Option<ShardArg>,
}

/// Shard as it is written: a number, or the number of the task of a job array.
#[derive(Debug, Clone, Copy)]
enum ShardArg {
    Fixed(Shard),
    Auto(u64),
}

impl FromStr for ShardArg {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        match text.strip_prefix("auto/") {
            // The number of shards is parsed, and checked, as that of a shard.
            Some(count) => Ok(Self::Auto(format!("0/{count}").parse::<Shard>()?.count())),
            None => text.parse().map(Self::Fixed),
        }
    }
}

impl ShardArgs {
    /// Finds the shard; none without the flag. Then a line says if this process is a task of a job array.
    pub fn find(&self) -> Result<Option<Shard>> {
        let variable = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        match self.shard {
            Some(ShardArg::Fixed(shard)) => Ok(Some(shard)),
            Some(ShardArg::Auto(count)) => {
                let shard = bulk::array_shard(count, variable);
                let shard =
                    shard.map_err(|error| anyhow!("--shard auto: {}: give --shard I/N", chain(&error)));
                shard.map(Some)
            }
            None => {
                if let Some(task) = bulk::detect(variable) {
                    let advice = "without --shard auto/N this task takes all inputs";
                    messages::line("note", format_args!("{task} is set: {advice}"));
                }
                Ok(None)
            }
        }
    }
}

/// Parses a path or a URL.
pub(super) fn place(text: &str) -> Result<Place, String> {
    Place::parse(text).map_err(|error| chain(&error))
}
