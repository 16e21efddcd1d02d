//! `cargo xtask`: everything between a fresh machine and working binaries.
//!
//! Cargo builds Rust; this crate does the rest with one language and no shell: it brings the native
//! libraries the workspace links to, shows the whole of it on real data, and runs every check.

mod bench;
mod demo;
mod pip;
mod setup;
mod staging;
mod steps;
mod test;
mod unpack;
mod wheel;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Setup, demo, tests and benchmarks of ferronnx
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring libtorch and ONNX Runtime into .native/
    Setup(setup::SetupArgs),
    /// Train, export and classify on real handwritten digits
    Demo(demo::DemoArgs),
    /// Format, lints, docs and all tests
    Test(test::TestArgs),
    /// Measure attention and write rows, a table and a plot of it
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
