//! Bulk classification: jobs over many images that can be stopped at any moment and go on.
//!
//! [`Job::run`] classifies the images of a [`Shard`], and writes the results in parts. [`check()`] counts what is there.
//!
//! | file | holds |
//! |---|---|
//! | `part-00003.jsonl`, `.csv` or `.parquet` | results: as a whole, or not at all |
//! | `_job/` | records of the job and of each part |
//!
//! An input has one place in the parts, which is planned before it is classified. So nothing is lost when a process is
//! killed, and nothing is there twice when it starts again, or when two processes work on one shard.

mod array;
mod check;
mod error;
mod feed;
mod files;
mod keys;
mod part;
mod plan;
mod record;
pub mod rows;
mod run;
mod shard;
mod store;
mod tally;

pub use array::{ArrayError, ArrayTask, detect, shard as array_shard};
pub use check::{Names, Report, check};
pub use error::BulkError;
pub use plan::{Done, Listed};
pub use record::{JobRecord, model_digest};
pub use run::{Event, Job, PART_SIZE, Summary};
pub use shard::{MAX_SHARDS, Shard, ShardError};
