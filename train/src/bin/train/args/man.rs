//! Arguments of `train man`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `train man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  train man /usr/local/share/man/man1     then: man train, man train-fit")]
pub struct ManArgs {
    /// Folder to write the pages into
    pub folder: PathBuf,
}
