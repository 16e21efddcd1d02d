//! Command `infer man`: writes man pages.

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Cli, ManArgs};
use crate::exit::Done;

/// Writes a man page for the program and one for each command.
pub fn run(args: &ManArgs) -> Result<Done> {
    clap_mangen::generate_to(Cli::command().name("infer"), &args.folder)
        .with_context(|| format!("{}: cannot write man pages into this folder", args.folder.display()))?;
    Ok(Done::All)
}
