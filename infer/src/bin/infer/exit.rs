//! Exit codes of the program.

use std::process::ExitCode;

/// Share of the work that was done, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// All of it: exit code 0.
    All,
    /// All but some inputs: exit code 1.
    Some,
    /// Nothing: exit code 2.
    Nothing,
    /// It was stopped by Ctrl-C or SIGTERM, and can go on: exit code 130, as shells give it.
    Stopped,
}

impl Done {
    /// Share that follows from the numbers of inputs that were done and that failed.
    pub fn from_counts(done: usize, failed: usize) -> Self {
        match (done, failed) {
            (0, _) => Self::Nothing,
            (_, 0) => Self::All,
            _ => Self::Some,
        }
    }

    /// Exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Some => 1,
            Self::Nothing => 2,
            Self::Stopped => 130,
        }
    }
}

impl From<Done> for ExitCode {
    fn from(done: Done) -> Self {
        done.code().into()
    }
}
