//! Arguments of `infer completions`.

use clap::Args;
use clap_complete::Shell;

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer completions bash > /etc/bash_completion.d/infer
  infer completions zsh > ~/.zfunc/_infer
  infer completions fish > ~/.config/fish/completions/infer.fish";

/// Arguments of `infer completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to print completions for
    pub shell: Shell,
}
