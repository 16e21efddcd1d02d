//! `cargo xtask test`: all checks that a change has to pass, cheapest first.
//!
//! All steps use the same compiler flags, so that torch-sys, which takes minutes, is compiled once.

use anyhow::Result;

use crate::setup;
use crate::steps::Steps;
use crate::workspace::{cargo, run as run_command};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                    run all checks, stopping at the first failure
  cargo test -p ferronnx-models       test one crate, after setup")]
pub struct TestArgs {}

/// Runs `cargo xtask test`.
pub fn run(_args: &TestArgs) -> Result<()> {
    let mut steps = Steps::new(7);
    steps.run("setup", setup::ensure)?;
    steps.run("format", || run_command(&mut cargo(&["fmt", "--all", "--check"])))?;
    steps.run("lints", || {
        run_command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.run("features", features)?;
    steps.run("docs", || {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
        run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    steps.run("tests", || run_command(&mut cargo(&["test", "--workspace"])))?;
    steps.run("licences", licences)?;
    println!("\nAll checks passed in {}.", steps.elapsed());
    Ok(())
}

/// Lints the library `infer` without features and with each one alone.
fn features() -> Result<()> {
    for feature in ["", "cli", "report", "bench", "data", "formats", "serve", "libjpeg"] {
        let args = ["clippy", "--package", "ferronnx-infer", "--lib", "--bins", "--no-default-features"];
        let mut clippy = cargo(&args);
        run_command(clippy.args(["--features", feature, "--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn licences() -> Result<()> {
    let installed = cargo(&["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !installed {
        println!("skipped: cargo-deny is not installed (`cargo install --locked cargo-deny`)");
        return Ok(());
    }
    run_command(&mut cargo(&["deny", "check", "licenses", "bans", "sources"]))
}
