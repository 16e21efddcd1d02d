//! The program `infer`: parses arguments, runs a command, reports.
//!
//! Exit codes: 0 all done; 1 some inputs failed, the others were done; 2 nothing could be done; 130 work was stopped.

mod args;
mod commands;
mod exit;
#[cfg(feature = "serve")]
mod logs;
mod messages;
mod output;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use exit::Done;

fn main() -> ExitCode {
    // SAFETY: no other thread has been started yet.
    unsafe { ferronnx_infer::runtime::disable_telemetry() };
    messages::one_line_panics();

    let result = match Cli::parse().command {
        #[cfg(feature = "bench")]
        Command::Bench(args) => commands::bench::run(&args),
        Command::Classify(args) => commands::classify::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args),
        Command::Embed(args) => commands::embed::run(&args),
        Command::Evaluate(args) => commands::evaluate::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => commands::serve::run(&args),
        Command::Similar(args) => commands::similar::run(&args),
        Command::TritonRepo(args) => commands::triton_repo::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
    };
    match result {
        Ok(done) => done.into(),
        // The reader of our output has enough.
        Err(error) if messages::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            messages::line("error", messages::with_advice(&error));
            Done::Nothing.into()
        }
    }
}
