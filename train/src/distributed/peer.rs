//! Identity of a process: its machine, its number there, and whether it still lives.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::process;

use serde::{Deserialize, Serialize};

/// Process of a group, as the others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peer {
    /// Name of the machine.
    pub host: String,
    /// Number of the process on its machine.
    pub pid: u32,
    /// Number of ranks that the process was told.
    pub size: usize,
    /// Address at which the machine is reached.
    pub address: IpAddr,
    /// Boot of the machine and namespace of its process numbers; empty where they are unknown.
    machine: String,
    /// Time at which the process began, in the kernel's ticks; tells it from a later process of the same number.
    begun: u64,
}

/// `node1, process 4711`
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, process {}", self.host, self.pid)
    }
}

impl Peer {
    /// This process.
    pub fn this(size: usize, address: IpAddr) -> Self {
        let pid = process::id();
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let (machine, begun) = (machine(), status(pid).map_or(0, |status| status.begun));
        Self { host, pid, size, address, machine, begun }
    }

    /// True if the process is known to be gone: always `false` for processes of other machines.
    pub fn is_gone(&self) -> bool {
        self.is_here() && !status(self.pid).is_some_and(|status| self.is(&status))
    }

    /// True if both processes are known to be on one machine.
    pub fn is_beside(&self, other: &Self) -> bool {
        !self.machine.is_empty() && self.machine == other.machine
    }

    /// Ends a process of this machine that cannot end itself.
    #[cfg(unix)]
    pub fn kill(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        let found = self.is_here() && status(self.pid).is_some_and(|status| self.is(&status));
        if let Some(pid) = Pid::from_raw(self.pid.cast_signed()).filter(|_| found) {
            // A process that cannot be ended here is left to its launcher.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Leaves a process that hangs to its launcher.
    #[cfg(not(unix))]
    pub fn kill(&self) {}

    /// Name that no other process has.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.host, self.pid, self.begun)
    }

    fn is_here(&self) -> bool {
        !self.machine.is_empty() && self.machine == machine()
    }

    fn is(&self, status: &Status) -> bool {
        status.begun == self.begun && !status.ended
    }
}

/// Process as Linux describes it.
struct Status {
    begun: u64,
    ended: bool,
}

/// Reads `/proc/PID/stat`; `None` where there is no such process, or no such file system.
fn status(pid: u32) -> Option<Status> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in brackets, may hold spaces and brackets.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    Some(Status { begun: fields.nth(18)?.parse().ok()?, ended })
}

/// Boot and namespace in which a process number has a meaning; empty where Linux does not tell.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let space = fs::read_link("/proc/self/ns/pid");
    match (boot, space) {
        (Ok(boot), Ok(space)) => format!("{} {}", boot.trim(), space.display()),
        _ => String::new(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Ipv4Addr;
    use std::process::Command;

    use super::*;

    #[test]
    fn tells_a_living_process_from_one_that_ended() {
        let mut this = Peer::this(2, Ipv4Addr::LOCALHOST.into());
        assert!(!this.is_gone());
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let begun = status(child.id()).unwrap().begun;
        let other = Peer { pid: child.id(), begun, ..this.clone() };
        assert!(!other.is_gone());
        // A later process with the same number is spared.
        Peer { begun: begun + 1, ..other.clone() }.kill();
        assert!(!other.is_gone());
        other.kill();
        child.wait().unwrap();
        assert!(other.is_gone());
        this.machine = "another".into();
        assert!(!Peer { pid: child.id(), ..this }.is_gone(), "nothing is known of other machines");
    }
}
