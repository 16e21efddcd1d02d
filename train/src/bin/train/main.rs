//! `train`: from a folder of images to an `.onnx`.

mod args;
#[macro_use]
mod display;
mod commands;
mod fetch;
mod interrupt;

use std::panic;
use std::process::ExitCode;

use anyhow::Error;
use clap::Parser;

use crate::args::{Args, Command};
use crate::interrupt::Interrupted;

/// Nothing was done: usage, data, device, files.
const FAILED: u8 = 2;
/// What shells expect after Ctrl-C.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { ferronnx_infer::runtime::disable_telemetry() };
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("unknown");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!(
            "error: internal: {} ({place}): please report this",
            ferronnx_train::error::first_words(message)
        );
    }));
    let args = Args::parse();
    let result = panic::catch_unwind(|| match args.command {
        Command::Fit(args) => commands::fit::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Summary(args) => commands::summary::run(&args),
    });
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Ok(Err(error)) => {
            eprintln!("error: {}", one_message(&error));
            ExitCode::from(FAILED)
        }
        Err(_) => ExitCode::from(FAILED),
    }
}

/// The chain of causes, each said once.
fn one_message(error: &Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !parts.iter().any(|part| part.contains(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}
