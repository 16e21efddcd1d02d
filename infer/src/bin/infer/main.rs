//! `infer`: parse, do the command, report.
//!
//! Exit codes: 0 all done; 1 some inputs failed, the others were done; 2 nothing could be done.

mod args;
mod commands;
mod output;
mod report;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    // SAFETY: no other thread has been started yet.
    unsafe { ferronnx_infer::runtime::disable_telemetry() };
    report::one_line_panics();

    let result = match Cli::parse().command {
        Command::Bench(args) => commands::bench::run(&args),
        Command::Classify(args) => commands::classify::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Evaluate(args) => commands::evaluate::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
    };
    match result {
        Ok(done) => done.into(),
        // Whoever read our output has enough.
        Err(error) if report::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report::line("error", format_args!("{error:#}"));
            report::Done::Nothing.into()
        }
    }
}
