//! Errors of jobs.

use std::io;

use crate::error::Error;

/// Reason why a job cannot be begun, gone on with or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// An input cannot be listed, or a file of the output not be read or written.
    #[error(transparent)]
    Place(#[from] Error),
    /// The rows of a part cannot be written.
    #[error("{name}: cannot be written")]
    Write {
        /// File of the part.
        name: String,
        /// Reason.
        source: io::Error,
    },
    /// The output holds parts of another model, or of other settings.
    #[error("{out} holds the results of another job: {}", differences.join("; "))]
    OtherJob {
        /// Output.
        out: String,
        /// Differences, in words.
        differences: Vec<String>,
    },
    /// The output holds a file that is named like a part and that no job has written.
    #[error("{out} holds {name}, which no job has written: its record in _job is missing")]
    ForeignPart {
        /// Output.
        out: String,
        /// File.
        name: String,
    },
    /// A record of the output cannot be understood.
    #[error("{name}: the record is damaged")]
    Record {
        /// File of the record.
        name: String,
        /// Reason.
        source: serde_json::Error,
    },
    /// A record of the output is missing or ends too early.
    #[error("{name}: the record is missing or incomplete")]
    NoRecord {
        /// File of the record.
        name: String,
    },
    /// There is no job in the output.
    #[error("{0} holds no results of a job")]
    NoJob(String),
    /// The inputs hold no images.
    #[error("no images to classify: the inputs hold none")]
    NoInputs,
    /// The network cannot be run.
    #[error("the network cannot be run")]
    Network(#[source] Error),
}
