//! Launch of a group: what torchrun, Kubeflow, SLURM and Open MPI tell each process in environment variables.

use std::fmt;
use std::str::FromStr;

use super::{World, hosts};

/// Port of the first rank where no launcher names one, as in PyTorch.
const DEFAULT_PORT: u16 = 29500;

/// Ports that are derived from the number of a job: below those that Linux gives to connections.
const JOB_PORTS: std::ops::Range<u64> = 15_000..32_000;

/// Wish of the user: which launcher to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Request {
    /// Whichever launcher started this process, or none.
    #[default]
    Auto,
    /// None: this process trains alone.
    Off,
    /// This launcher.
    By(Launcher),
}

/// Program that started the processes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// torchrun, Kubeflow and others that set `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`.
    Torchrun,
    /// SLURM's `srun`.
    Slurm,
    /// Open MPI's `mpirun`.
    Mpi,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchrun => "torchrun",
            Self::Slurm => "SLURM",
            Self::Mpi => "Open MPI",
        })
    }
}

/// Place of this process in a group, and the address at which the group meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Rank of this process.
    pub world: World,
    /// Name or address of the machine of the first rank.
    pub address: String,
    /// Port there.
    pub port: u16,
    /// True if the launcher serves the store at this address; otherwise the first rank does.
    pub agent_store: bool,
    /// Number of times that the launcher started this group again.
    pub restart: usize,
    /// The launcher.
    pub by: Launcher,
}

/// Variables of a launcher that are incomplete, or contradict each other or the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// A launcher started several processes, and the request is to train alone.
    #[error(
        "WORLD_SIZE is {size}, but distributed training is off: each of the {size} processes would train the same; unset \
         WORLD_SIZE to train alone"
    )]
    Off {
        /// Number of processes.
        size: usize,
    },
    /// A variable is not set.
    #[error("{by} should have set {variable}, which is missing: {remedy}")]
    Missing {
        /// The launcher.
        by: Launcher,
        /// The variable.
        variable: &'static str,
        /// Thing to do.
        remedy: &'static str,
    },
    /// A variable does not hold a number in its range.
    #[error("{variable} is {value:?}, which is not {expected}")]
    Value {
        /// The variable.
        variable: &'static str,
        /// Value of the variable.
        value: String,
        /// Description of what it should be.
        expected: &'static str,
    },
    /// A number is not below the number of those that are counted.
    #[error("{variable} is {number}, but {of} is {size}: numbers begin with 0")]
    Range {
        /// The variable.
        variable: &'static str,
        /// Value of the variable.
        number: usize,
        /// Variable with the count.
        of: &'static str,
        /// The count.
        size: usize,
    },
}

/// Names of the variables in which a launcher tells a process its place.
struct Names {
    by: Launcher,
    size: &'static str,
    rank: &'static str,
    local_rank: &'static str,
    local_size: &'static str,
}

const TORCHRUN: Names = Names {
    by: Launcher::Torchrun,
    size: "WORLD_SIZE",
    rank: "RANK",
    local_rank: "LOCAL_RANK",
    local_size: "LOCAL_WORLD_SIZE",
};
const SLURM: Names = Names {
    by: Launcher::Slurm,
    size: "SLURM_STEP_NUM_TASKS",
    rank: "SLURM_PROCID",
    local_rank: "SLURM_LOCALID",
    local_size: "",
};
/// SLURM's variables outside of a step, as other programs that start a job's tasks pass them on.
const SLURM_JOB: Names = Names { size: "SLURM_NTASKS", ..SLURM };
const MPI: Names = Names {
    by: Launcher::Mpi,
    size: "OMPI_COMM_WORLD_SIZE",
    rank: "OMPI_COMM_WORLD_RANK",
    local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
    local_size: "OMPI_COMM_WORLD_LOCAL_SIZE",
};

/// Environment variables, by a function that looks one up.
struct Variables<F>(F);

impl Launch {
    /// Reads the launch of this process from variables that `lookup` finds; `None` when it trains alone.
    ///
    /// # Errors
    /// [`LaunchError`] when there are several processes and a variable is missing, or contradicts another or the request.
    pub fn find(
        request: Request,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, LaunchError> {
        let variables = Variables(lookup);
        match request {
            Request::By(Launcher::Torchrun) => variables.torchrun().map(Some),
            Request::By(Launcher::Slurm) => variables.slurm().map(Some),
            Request::By(Launcher::Mpi) => variables.mpi().map(Some),
            Request::Off => match variables.size(&TORCHRUN)? {
                Some(size) if size > 1 => Err(LaunchError::Off { size }),
                _ => Ok(None),
            },
            Request::Auto => variables.any(),
        }
    }
}

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    /// Launch by whoever set variables; torchrun inside of an `srun` step counts as torchrun.
    fn any(&self) -> Result<Option<Launch>, LaunchError> {
        if let Some(size) = self.size(&TORCHRUN)? {
            let complete =
                [TORCHRUN.rank, "MASTER_ADDR", "MASTER_PORT"].iter().all(|name| self.text(name).is_some());
            return match size > 1 || complete {
                true => self.torchrun().map(Some),
                false => Ok(None),
            };
        }
        if self.text(TORCHRUN.rank).is_some() && self.text("MASTER_ADDR").is_some() {
            return self.torchrun().map(Some);
        }
        if self.size(&SLURM)?.is_some_and(|size| size > 1) {
            return self.slurm().map(Some);
        }
        match self.size(&MPI)?.is_some_and(|size| size > 1) {
            true => self.mpi().map(Some),
            false => Ok(None),
        }
    }

    fn torchrun(&self) -> Result<Launch, LaunchError> {
        const REMEDY: &str = "start through torchrun, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT";
        let world = self.world(&TORCHRUN, REMEDY)?;
        let missing = |variable| LaunchError::Missing { by: Launcher::Torchrun, variable, remedy: REMEDY };
        Ok(Launch {
            world,
            address: self.text("MASTER_ADDR").ok_or(missing("MASTER_ADDR"))?,
            port: self.port()?.ok_or(missing("MASTER_PORT"))?,
            agent_store: self.text("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
            restart: self.parsed("TORCHELASTIC_RESTART_COUNT", "a count")?.unwrap_or(0),
            by: Launcher::Torchrun,
        })
    }

    fn slurm(&self) -> Result<Launch, LaunchError> {
        const REMEDY: &str = "start inside of an srun step";
        let names = if self.text(SLURM.size).is_some() { &SLURM } else { &SLURM_JOB };
        let world = self.world(names, REMEDY)?;
        let address = match self.text("MASTER_ADDR") {
            Some(address) => address,
            None => self.first_machine()?,
        };
        let port = match self.port()? {
            Some(port) => port,
            None => self.job_port()?,
        };
        Ok(Launch { world, address, port, agent_store: false, restart: 0, by: Launcher::Slurm })
    }

    fn mpi(&self) -> Result<Launch, LaunchError> {
        let world = self.world(&MPI, "start through mpirun")?;
        let local: Option<usize> = self.parsed(MPI.local_size, "a number of processes")?;
        let address = match self.text("MASTER_ADDR") {
            Some(address) => address,
            None if local == Some(world.size) => "127.0.0.1".into(),
            None => {
                let remedy = "name the machine of rank 0 with mpirun -x MASTER_ADDR=NAME";
                return Err(LaunchError::Missing { by: Launcher::Mpi, variable: "MASTER_ADDR", remedy });
            }
        };
        let port = self.port()?.unwrap_or(DEFAULT_PORT);
        Ok(Launch { world, address, port, agent_store: false, restart: 0, by: Launcher::Mpi })
    }

    fn world(&self, names: &Names, remedy: &'static str) -> Result<World, LaunchError> {
        let missing = |variable| LaunchError::Missing { by: names.by, variable, remedy };
        let size = self.size(names)?.ok_or(missing(names.size))?;
        let rank = self.parsed(names.rank, "the number of a process")?.ok_or(missing(names.rank))?;
        let local_rank = self.parsed(names.local_rank, "the number of a process")?.unwrap_or(0);
        below(names.rank, rank, names.size, size)?;
        if let Some(local_size) = self.parsed(names.local_size, "a number of processes")? {
            below(names.local_rank, local_rank, names.local_size, local_size)?;
        }
        Ok(World { rank, size, local_rank })
    }

    fn size(&self, names: &Names) -> Result<Option<usize>, LaunchError> {
        const EXPECTED: &str = "a number of processes";
        match self.parsed(names.size, EXPECTED)? {
            Some(0) => {
                Err(LaunchError::Value { variable: names.size, value: "0".into(), expected: EXPECTED })
            }
            size => Ok(size),
        }
    }

    fn port(&self) -> Result<Option<u16>, LaunchError> {
        let port = self.parsed("MASTER_PORT", "a port from 1 to 65535")?;
        match port {
            Some(0) => Err(LaunchError::Value {
                variable: "MASTER_PORT",
                value: "0".into(),
                expected: "a port from 1 to 65535",
            }),
            port => Ok(port),
        }
    }

    /// Port of a SLURM step: the same for all its processes, and another one for most other jobs and steps.
    fn job_port(&self) -> Result<u16, LaunchError> {
        let job: Option<u64> = self.parsed("SLURM_JOB_ID", "the number of a job")?;
        let step: Option<u64> = self.parsed("SLURM_STEP_ID", "the number of a step")?;
        let number = job.unwrap_or(0).wrapping_add(step.unwrap_or(0));
        let port = JOB_PORTS.start + number % (JOB_PORTS.end - JOB_PORTS.start);
        Ok(u16::try_from(port).unwrap_or(DEFAULT_PORT))
    }

    fn first_machine(&self) -> Result<String, LaunchError> {
        for variable in ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"] {
            if let Some(value) = self.text(variable) {
                let expected = "a list of machines such as node[1-4]";
                return hosts::first(&value).ok_or(LaunchError::Value { variable, value, expected });
            }
        }
        Err(LaunchError::Missing {
            by: Launcher::Slurm,
            variable: "SLURM_JOB_NODELIST",
            remedy: "start inside of a SLURM job, or set MASTER_ADDR",
        })
    }

    /// Value of a variable; one that is empty counts as missing.
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn parsed<T: FromStr>(
        &self,
        variable: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, LaunchError> {
        let Some(value) = self.text(variable) else { return Ok(None) };
        match value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(LaunchError::Value { variable, value, expected }),
        }
    }
}

fn below(variable: &'static str, number: usize, of: &'static str, size: usize) -> Result<(), LaunchError> {
    match number < size {
        true => Ok(()),
        false => Err(LaunchError::Range { variable, number, of, size }),
    }
}

#[cfg(test)]
mod tests;
