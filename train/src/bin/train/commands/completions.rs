//! `train completions`: a script that makes a shell complete commands and flags.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Args, CompletionsArgs};

/// Runs the command.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    // The generator panics when its reader leaves early, so it writes to memory first.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "train", &mut script);
    io::stdout().write_all(&script).context("standard output")
}
