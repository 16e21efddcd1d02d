//! Errors of groups of processes.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::TorchError;

/// Failure of one rank, for which all others end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The rank that failed.
    pub rank: usize,
    /// The rank that noticed; the same one, when it could tell by itself.
    pub by: usize,
    /// Machine and process of the rank: `node1, process 4711`.
    pub place: String,
    /// Description of what happened to it.
    pub cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} ({}): {}", self.rank, self.place, self.cause)
    }
}

/// Errors of joining a group and of its collectives.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// The address of the first rank has no meaning in this network.
    #[error(
        "cannot resolve {host:?}, the address of the first rank: is it spelt right, and known on this machine?"
    )]
    Resolve {
        /// The address.
        host: String,
        /// The reason.
        source: io::Error,
    },
    /// Nobody answers at the address of the first rank.
    #[error(
        "cannot reach the first rank at {address} within {} s: is it running, is the address that of its machine, and \
         does a firewall let the port through?", waited.as_secs()
    )]
    Unreachable {
        /// Address and port.
        address: String,
        /// Time that was waited.
        waited: Duration,
        /// The reason.
        source: io::Error,
    },
    /// The first rank cannot listen at its port.
    #[error(
        "cannot listen at port {port}, where the other ranks look for the first one: another program, or a second \
         process with rank 0, may use it; choose another port"
    )]
    Port {
        /// The port.
        port: u16,
        /// The reason.
        source: io::Error,
    },
    /// Something else than a first rank answers at its address.
    #[error("{address} answers, but not as the first rank of a group: does another program use that port?")]
    Stranger {
        /// Address and port.
        address: String,
    },
    /// Ranks did not come.
    #[error("{} of {size} did not come within {} s: were all started, with the same address and port?", numbers(ranks), waited.as_secs())]
    Missing {
        /// Ranks that did not come.
        ranks: Vec<usize>,
        /// Number of ranks.
        size: usize,
        /// Time that was waited.
        waited: Duration,
    },
    /// A rank failed, was lost, or found that the ranks do not fit each other.
    #[error("{0}")]
    Failed(Failure),
    /// Ranks were started with something different; all of them find the same.
    #[error("the ranks have different {subject}: {} has {other}, rank 0 has {first}", numbers(ranks))]
    Differs {
        /// Name of what differs.
        subject: &'static str,
        /// The first rank's.
        first: String,
        /// The other ranks.
        ranks: Vec<usize>,
        /// The first one of theirs.
        other: String,
    },
    /// Ranks were given the same GPU.
    #[error(
        "{} train on the same GPU of {host}: start as many ranks on a machine as it has GPUs, each with its own",
        numbers(ranks)
    )]
    SameGpu {
        /// The ranks.
        ranks: Vec<usize>,
        /// Name of their machine.
        host: String,
    },
    /// NCCL's library cannot be opened.
    #[error(
        "ranks on GPUs need NCCL, whose library cannot be opened ({0}): it comes with libtorch's CUDA form, or install \
         it and name its folder in LD_LIBRARY_PATH"
    )]
    NoNccl(String),
    /// Tensors are on a device that was not connected.
    #[error("tensors on {0:?} cannot be exchanged: the ranks did not connect their GPUs")]
    NotConnected(tch::Device),
    /// The connections of the ranks cannot be used.
    #[error("cannot {action}")]
    Engine {
        /// The attempt.
        action: &'static str,
        /// The reason.
        source: TorchError,
    },
    /// Tensors cannot be prepared.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl Failure {
    /// The rank that is to report the failure: the first one, unless that is lost itself.
    pub fn reporter(&self) -> usize {
        usize::from(self.rank == 0 && self.by != 0)
    }
}

impl DistributedError {
    /// True if all ranks know of the error, so that one of them reports it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Differs { .. } | Self::SameGpu { .. })
    }

    /// Adapter for `map_err` that names the attempt, and keeps libtorch's places in C++ files away.
    pub(crate) fn engine(action: &'static str) -> impl Fn(TorchError) -> Self {
        move |source| Self::Engine { action, source: plain(source) }
    }
}

/// Message of Gloo without the place in its source: `[.../pair.cc:589] Connection closed ...`.
fn plain(error: TorchError) -> TorchError {
    match error {
        TorchError::Other(message) => {
            let words = message.strip_prefix('[').and_then(|rest| rest.split_once("] "));
            let words = words.map_or(message.as_str(), |(_, words)| words);
            TorchError::Other(words.lines().next().unwrap_or_default().to_owned())
        }
        error => error,
    }
}

/// `rank 1`, `ranks 1, 2 and 5`
pub(super) fn numbers(ranks: &[usize]) -> String {
    match ranks {
        [] => "no rank".into(),
        [rank] => format!("rank {rank}"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("ranks {} and {last}", first.join(", "))
        }
    }
}
