//! `cargo xtask test`: all checks that a change has to pass, cheapest first.
//!
//! All steps use the same compiler flags, so that torch-sys, which takes minutes, is compiled once. Lints and docs are those
//! with object stores and parquet, the feature `cloud`. Tests are those of the default, because that feature takes minutes to
//! compile; a job of CI runs the others, see CONTRIBUTING.md.

use std::process::Command;

use anyhow::Result;

use crate::steps::Steps;
use crate::workspace::{cargo, root, run as run_command};
use crate::{book, pip, setup, tools};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                    run all checks, stopping at the first failure
  cargo test -p ferronnx-models       test one crate, after setup")]
pub struct TestArgs {}

/// Runs `cargo xtask test`.
pub fn run(_args: &TestArgs) -> Result<()> {
    let mut steps = Steps::new(9);
    steps.run("setup", setup::ensure)?;
    steps.run("format", || run_command(&mut cargo(&["fmt", "--all", "--check"])))?;
    steps.run("lints", || {
        let mut clippy = with_cloud("clippy");
        run_command(clippy.args(["--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.run("features", features)?;
    steps.run("docs", || {
        let mut doc = with_cloud("doc");
        run_command(doc.args(["--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    steps.run("tests", || {
        let mut test = cargo(&["test", "--workspace"]);
        // Tests train side by side: waiting threads of one must not take the cores of another.
        run_command(test.env("OMP_WAIT_POLICY", "PASSIVE"))
    })?;
    steps.run("conformance", conformance)?;
    steps.run("book", book::check)?;
    steps.run("licences", licences)?;
    println!("\nAll checks passed in {}.", steps.elapsed());
    Ok(())
}

/// Cargo command on all crates, with the feature `cloud`.
fn with_cloud(command: &str) -> Command {
    cargo(&[command, "--workspace", "--features", "ferronnx-infer/cloud,ferronnx-train/cloud"])
}

/// Lints the library `infer` without features and with each one alone.
fn features() -> Result<()> {
    for feature in ["", "cli", "report", "bench", "data", "formats", "serve", "libjpeg", "cloud"] {
        let args = ["clippy", "--package", "ferronnx-infer", "--lib", "--bins", "--no-default-features"];
        let mut clippy = cargo(&args);
        run_command(clippy.args(["--features", feature, "--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Tests `infer serve` with NVIDIA's client of the Open Inference Protocol, over HTTP and gRPC.
fn conformance() -> Result<()> {
    let folder = root().join("infer/tests/conformance");
    let packages = root().join("target/conformance");
    pip::install(&folder.join("requirements.txt"), &packages)?;
    // Built by the tests of the workspace: building it alone would compile its dependencies again, with other features.
    let mut python = Command::new("python3");
    python.arg(folder.join("conformance.py")).arg(root().join("target/debug/infer"));
    run_command(python.env("PYTHONPATH", packages))
}

/// Checks licences, duplicates and sources of all dependencies with the user's cargo-deny, or else one that is brought.
fn licences() -> Result<()> {
    let check = ["check", "licenses", "bans", "sources"];
    let installed = cargo(&["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if installed {
        return run_command(cargo(&["deny"]).args(check));
    }
    let mut deny = Command::new(tools::program(&tools::CARGO_DENY)?);
    run_command(deny.args(check).current_dir(root()))
}
