//! `infer completions`: what a shell needs to complete commands and flags.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::report::Done;

/// Prints the script for a shell.
pub fn run(args: &CompletionsArgs) -> Result<Done> {
    // In memory first: the generator panics when its reader leaves early.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "infer", &mut script);
    io::stdout().write_all(&script).context("standard output")?;
    Ok(Done::All)
}
