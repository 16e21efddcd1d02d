//! `cargo xtask test`: what must hold before a change goes in, cheapest first.
//!
//! No compiler flag differs between the steps, so that torch-sys, minutes of C++, is compiled once for all.

use anyhow::Result;

use crate::setup;
use crate::steps::Steps;
use crate::workspace::{cargo, run as run_command};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                    everything, stopping at the first failure
  cargo test -p ferronnx-models                one crate, after setup")]
pub struct TestArgs {}

/// Runs `cargo xtask test`.
pub fn run(_args: &TestArgs) -> Result<()> {
    let mut steps = Steps::new(6);
    steps.run("setup", setup::ensure)?;
    steps.run("format", || run_command(&mut cargo(&["fmt", "--all", "--check"])))?;
    steps.run("lints", || {
        run_command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.run("docs", || {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
        run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    steps.run("tests", || run_command(&mut cargo(&["test", "--workspace"])))?;
    steps.run("licences", licences)?;
    println!("\nAll checks passed in {}.", steps.elapsed());
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
