//! `train man`: man pages.

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Args, ManArgs};

/// Writes a man page for the program and one for each command.
pub fn run(args: &ManArgs) -> Result<()> {
    clap_mangen::generate_to(Args::command().name("train"), &args.folder)
        .with_context(|| format!("{}: cannot write man pages into this folder", args.folder.display()))
}
