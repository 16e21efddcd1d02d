//! Threads of a run wait asleep, unless the environment says otherwise.

use std::fs;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use crate::common::colour_set;

/// Environment of a run whose folder is there, without `policy`'s variable unless it has a value.
fn environment_of_a_run(policy: Option<&str>) -> Vec<String> {
    let (dir, _) = colour_set();
    let mut command = Process::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(dir.path()).args(["fit", "--data", "colours", "--out", "run", "--image-size", "8"]);
    command.args(["--epochs", "500", "--device", "cpu"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.env_remove("GOMP_SPINCOUNT").env_remove("OMP_WAIT_POLICY");
    if let Some(policy) = policy {
        command.env("OMP_WAIT_POLICY", policy);
    }
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !dir.path().join("run/plan.json").exists() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "no run was begun");
        std::thread::sleep(Duration::from_millis(50));
    }
    let found = fs::read(format!("/proc/{}/environ", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    found.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect()
}

#[test]
fn threads_sleep_while_they_wait() {
    assert!(environment_of_a_run(None).contains(&"OMP_WAIT_POLICY=PASSIVE".to_owned()));
}

#[test]
fn the_environment_decides() {
    assert!(environment_of_a_run(Some("ACTIVE")).contains(&"OMP_WAIT_POLICY=ACTIVE".to_owned()));
}
