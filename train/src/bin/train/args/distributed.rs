//! Flags of training with several processes.

use std::time::Duration;

use clap::ValueEnum;
use ferronnx_train::distributed::{Launcher, Request};

/// Flags of training with several processes.
#[derive(Debug, Clone, clap::Args)]
pub struct DistributedArgs {
    /// Train together with other processes: as torchrun, SLURM (srun) or Open MPI (mpirun) started them, or not at all
    #[arg(long, value_enum, default_value = "auto", value_name = "LAUNCHER")]
    pub distributed: DistributedArg,
    /// Longest time to wait for the other processes at the start, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub join_timeout: u32,
}

impl DistributedArgs {
    /// Longest time to wait at the start.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.join_timeout.into())
    }
}

/// Values of `--distributed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DistributedArg {
    /// Whichever launcher started several processes
    Auto,
    /// Train alone
    Off,
    /// torchrun or Kubeflow: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT
    Torchrun,
    /// SLURM: the tasks of an srun step
    Slurm,
    /// Open MPI
    Mpi,
}

impl From<DistributedArg> for Request {
    fn from(arg: DistributedArg) -> Self {
        match arg {
            DistributedArg::Auto => Self::Auto,
            DistributedArg::Off => Self::Off,
            DistributedArg::Torchrun => Self::By(Launcher::Torchrun),
            DistributedArg::Slurm => Self::By(Launcher::Slurm),
            DistributedArg::Mpi => Self::By(Launcher::Mpi),
        }
    }
}
