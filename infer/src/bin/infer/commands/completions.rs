//! Command `infer completions`: prints a script that makes a shell complete commands and flags.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::exit::Done;

/// Prints the completion script for a shell.
pub fn run(args: &CompletionsArgs) -> Result<Done> {
    // The generator panics when its reader leaves early, so it writes to memory first.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "infer", &mut script);
    io::stdout().write_all(&script).context("standard output")?;
    Ok(Done::All)
}
