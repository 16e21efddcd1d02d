//! Arguments of `infer man`.

use std::path::PathBuf;

use clap::Args;

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer man /usr/local/share/man/man1     then: man infer, man infer-classify";

/// Arguments of `infer man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder to write the pages into
    pub folder: PathBuf,
}
