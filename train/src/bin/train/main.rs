//! The program `train`: trains on a folder of images and exports an `.onnx` file.

mod args;
#[macro_use]
mod display;
mod commands;
mod fetch;
mod findings;
mod hints;
mod mlflow;
mod ranks;
mod waiting;

use std::panic;
use std::process::ExitCode;

use clap::Parser;
use ferronnx_train::error::{chain, first_words};
use ferronnx_train::interrupt::INTERRUPTED;

use crate::args::{Args, Command};

/// Exit status when nothing was done: usage, data, device or files are wrong.
const FAILED: u8 = 2;

/// Error that stands for Ctrl-C, once everything is saved.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// Exit status when everything was done, but for images that cannot be decoded.
const PARTLY: u8 = 1;

/// Error that stands for images that cannot be decoded, once they are named.
#[derive(Debug, thiserror::Error)]
#[error("images cannot be decoded")]
struct Unreadable;

fn main() -> ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { ferronnx_infer::runtime::disable_telemetry() };
    // SAFETY: as above.
    unsafe { ferronnx_train::device::fix_workspaces() };
    panic::set_hook(Box::new(|info| {
        if ferronnx_infer::decode::is_guarded() {
            return;
        }
        let message = info.payload_as_str().unwrap_or("unknown");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("error: internal: {} ({place}): please report this", first_words(message));
    }));
    let args = Args::parse();
    if matches!(args.command, Command::Fit(_) | Command::FindLr(_)) {
        waiting::sleep();
    }
    let result = panic::catch_unwind(|| match args.command {
        Command::Fit(args) => ranks::run(&args),
        Command::FindLr(args) => commands::find_lr::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Summary(args) => commands::summary::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args),
    });
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Ok(Err(error)) if error.is::<ranks::Reported>() => ExitCode::from(FAILED),
        Ok(Err(error)) if error.is::<Unreadable>() => ExitCode::from(PARTLY),
        Ok(Err(error)) => {
            display::print_error(format_args!("error: {}{}", chain(error.as_ref()), hints::hint(&error)));
            ExitCode::from(FAILED)
        }
        Err(_) => ExitCode::from(FAILED),
    }
}
