//! Waiting threads of OpenMP, which sleep rather than spin.

use std::env;
use std::process::Command;

/// Variables that say how OpenMP's threads wait.
const VARIABLES: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// Starts this program again with threads that sleep while they wait, unless the environment says how they wait.
///
/// By default OpenMP's threads spin for milliseconds before they sleep, and take the cores of other programs: beside one
/// that is as busy, a step takes several times as long. The library reads the variable when it is loaded, which is before
/// `main`. The process stays the same one, and goes on as it is where it cannot be started again.
#[cfg(unix)]
pub fn sleep() {
    use std::os::unix::process::CommandExt;

    if VARIABLES.iter().any(|name| env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut args = env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = args.next() {
        again.arg0(name);
    }
    // Only returns when it fails.
    let _ = again.args(args).env(VARIABLES[0], "PASSIVE").exec();
}

/// Does nothing: a process cannot be replaced here.
#[cfg(not(unix))]
pub fn sleep() {}
