//! Arguments of `train completions`.

use clap::Args;
use clap_complete::Shell;

/// Arguments of `train completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  train completions bash > /etc/bash_completion.d/train
  train completions zsh > ~/.zfunc/_train
  train completions fish > ~/.config/fish/completions/train.fish")]
pub struct CompletionsArgs {
    /// Shell to print completions for
    pub shell: Shell,
}
