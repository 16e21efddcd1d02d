//! Arguments of `infer explain`.

use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, ReportFormat};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer explain cat.jpg -o overlay.png
  infer explain cat.jpg --class dog

The panels show the part of the image that the network saw: as it is, under the class activation map of a class (bright \
places speak for it), under the attention mask of each stage (dark is its minimum, bright its maximum), and under the mean of \
all masks. The masks are in files of `train export --attention-outputs`, the class activation map in those of `train export \
--explain-outputs`.";

/// Arguments of `infer explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Image to explain
    #[arg(value_name = "PHOTO")]
    pub photo: PathBuf,

    /// Class whose activation map is shown, by its label or else its index [default: the most likely]
    #[arg(long, value_name = "NAME|N")]
    pub class: Option<String>,

    /// Image file to write: .png, .jpg, .webp, .bmp, .tiff or .gif
    #[arg(short, long, value_name = "FILE", default_value = "overlay.png")]
    pub output: PathBuf,

    /// Output format of predictions, masks and the class activation map
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,

    /// Model, and the device it runs on.
    #[command(flatten)]
    pub model: ModelArgs,
}
