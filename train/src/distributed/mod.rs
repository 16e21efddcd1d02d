//! Data-parallel training: a group of processes, its launch by torchrun, SLURM or MPI, and its faults.
//!
//! A launcher starts one process a device, and tells each its rank in environment variables ([`Launch`]). The processes
//! meet in a [`Group`]: PyTorch's own c10d with Gloo for CPU tensors, and NCCL for those on GPUs.

mod address;
mod arrival;
mod error;
mod group;
mod hosts;
mod launch;
mod peer;
mod pending;
pub mod reducer;
mod watcher;

pub use self::error::{DistributedError, Failure};
pub use self::group::Group;
pub use self::launch::{Launch, LaunchError, Launcher, Request};
pub use self::pending::Pending;

/// Place of a process among those that train together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// Number of this process among those of its machine, from 0.
    pub local_rank: usize,
}

impl World {
    /// World of one process.
    pub fn single() -> Self {
        Self { rank: 0, size: 1, local_rank: 0 }
    }

    /// True for the first rank, which writes files and the terminal.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }
}
