//! Flags of `train explain`.

use std::path::PathBuf;

use super::BareArgs;

/// Flags of `train explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  train explain runs/photos cat.jpg
  train explain runs/photos cat.jpg --class dog --layer @stages:3 --out dog.png
  train explain weights.pth cat.jpg --labels labels.txt --layer backbone.layer4.0

The map is relu(sum over k of relu(gradient of the class's logit by A_k) * A_k) of the layer's last feature maps A (LayerCAM, \
Jiang et al. 2021). For the last layer alone, infer explain needs no gradients.")]
pub struct ExplainArgs {
    /// Run folder, or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub source: PathBuf,
    /// Image to explain
    #[arg(value_name = "PHOTO")]
    pub photo: PathBuf,
    /// Class, by its label or else its index [default: the most likely]
    #[arg(long, value_name = "NAME|N")]
    pub class: Option<String>,
    /// Layer: a stage as @stages:4, or a part of the network as backbone.layer4.0
    #[arg(long, value_name = "LAYER", default_value = "@stages:4")]
    pub layer: String,
    /// Image file to write
    #[arg(short, long, value_name = "FILE", default_value = "overlay.png")]
    pub out: PathBuf,
    /// Facts that a bare checkpoint does not tell.
    #[command(flatten)]
    pub bare: BareArgs,
}
