//! The program `train`: whole runs and refused arguments.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "../common/mod.rs"]
mod common;

mod changed_data;
mod compare;
mod data;
mod dry_run;
mod explain;
mod export;
mod fit;
mod gray;
mod interrupted;
mod labels;
#[cfg(target_os = "linux")]
mod waiting;

use std::path::Path;

use assert_cmd::Command;
use predicates::str::contains;

fn train(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(dir);
    command
}

/// Starts a short run on small images.
fn fit(dir: &Path) -> Command {
    let mut command = train(dir);
    command.args(["fit", "--data", "colours", "--out", "run", "--image-size", "8"]);
    command.args(["--batch-size", "16", "--epochs", "3", "--device", "cpu"]);
    command
}

fn stderr(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.starts_with("error: "), "{text}");
    assert!(!text.contains("panicked") && !text.contains("Exception raised"), "{text}");
    text
}

#[test]
fn help_has_examples() {
    for arguments in [
        &["--help"][..],
        &["fit", "--help"],
        &["find-lr", "--help"],
        &["compare", "--help"],
        &["explain", "--help"],
        &["export", "--help"],
    ] {
        train(Path::new(".")).args(arguments).assert().success().stdout(contains("Examples:"));
    }
}
