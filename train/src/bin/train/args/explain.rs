//! Flags of `train explain`.

use std::path::PathBuf;

/// Flags of `train explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  train explain runs/photos cat.jpg
  train explain runs/photos cat.jpg --class dog --layer @stages:3 --out dog.png
  train explain weights.pth cat.jpg --layer backbone.layer4.0

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
    /// Bare checkpoint: height and width of the input [default: 32 for a 3x3 stem, 224 for a 7x7 one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub image_size: Option<u32>,
}
