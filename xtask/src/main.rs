//! `cargo xtask`: downloads the native libraries, runs the demo, all checks and the benchmarks, and makes releases.
//!
//! Cargo builds the Rust code; this program does everything else, without shell scripts.

mod bench;
mod book;
mod demo;
mod dist;
mod pip;
mod setup;
mod staging;
mod steps;
mod test;
mod tools;
mod unpack;
mod wheel;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set up, demonstrate, test, benchmark and release ferronnx
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Download libtorch and ONNX Runtime into .native/
    Setup(setup::SetupArgs),
    /// Train, export, verify, evaluate and explain on 1,797 handwritten digits
    Demo(demo::DemoArgs),
    /// Check format, lints and documentation, and run all tests
    Test(test::TestArgs),
    /// Build the documentation as a book, check its links and run its commands
    Book(book::BookArgs),
    /// Benchmark attention and write the results as JSON, Markdown and a plot
    Bench(bench::BenchArgs),
    /// Make release archives of both programs
    Dist(dist::DistArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Book(args) => book::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Dist(args) => dist::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
