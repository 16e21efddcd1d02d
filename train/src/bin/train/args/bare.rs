//! Flags that say what a bare checkpoint does not.

use std::path::PathBuf;

use anyhow::{Result, bail};
use ferronnx_infer::assume::parse_channels;

/// Numbers of each channel. An alias, for clap would take a `Vec` for a flag that is given several times.
type Numbers = Vec<f32>;

/// Flags for bare checkpoints.
#[derive(Debug, clap::Args)]
pub struct BareArgs {
    /// Bare checkpoint: class names, one per line [default: class 0, class 1, ...]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Bare checkpoint: height and width of the input [default: 32 for a 3x3 stem, 224 for a 7x7 one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub image_size: Option<u32>,
    /// Bare checkpoint: mean per channel, for values from 0 to 1 or to 255 [default: CIFAR-10's or ImageNet's, by size]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels)]
    pub mean: Option<Numbers>,
    /// Bare checkpoint: standard deviation per channel, for the same values [default: as for --mean]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels)]
    pub std: Option<Numbers>,
    /// Bare checkpoint: key of the weights, where the file holds several networks, such as model_ema
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Bare checkpoint: pass over tensors with these names, though they may belong to further layers (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub leave_out: Vec<String>,
}

impl BareArgs {
    /// Refuses the flags for a run, which knows what they say.
    pub fn refuse(&self) -> Result<()> {
        let given = [
            ("--labels", self.labels.is_some()),
            ("--image-size", self.image_size.is_some()),
            ("--mean", self.mean.is_some()),
            ("--std", self.std.is_some()),
            ("--key", self.key.is_some()),
            ("--leave-out", !self.leave_out.is_empty()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => bail!("{flag} is for bare checkpoints: a run knows it already"),
            None => Ok(()),
        }
    }
}
