//! Settings of a new run, for `train fit` and `train find-lr`.

use clap::ValueEnum;
use ferronnx_train::data::Sampling;
use ferronnx_train::device::DeviceRequest;
use ferronnx_train::loss::{ClassWeights, LossName};
use ferronnx_train::pretrained::StemInit;
use ferronnx_train::trainer::Amp;

use super::NetworkArgs;

/// Settings of a new run, for `train fit` and `train find-lr`.
#[derive(Debug, clap::Args)]
pub struct SetupArgs {
    /// Recipe: one-cycle, fine-tune, three-phase, differential, from-scratch, or a TOML file [default: fine-tune with
    /// pretrained weights, else one-cycle]
    #[arg(long, value_name = "NAME|FILE")]
    pub recipe: Option<String>,
    /// Pretrained weights: a .safetensors or .pth file, imagenet (timm's tv_in1k of a ResNet, downloaded once), or
    /// none
    #[arg(long, default_value = "none", value_name = "FILE|imagenet|none")]
    pub pretrained: String,
    /// Key of the pretrained weights, where the file holds several networks, such as model_ema
    #[arg(long, value_name = "KEY")]
    pub pretrained_key: Option<String>,
    /// Initialise a 3x3 stem from a pretrained 7x7 one by its centre, or at random [default: centre]
    #[arg(long, value_name = "centre|random")]
    pub stem_init: Option<StemInit>,
    /// Freeze the stem in phases that do not train it by name, even when it is new
    #[arg(long)]
    pub freeze_stem: bool,
    /// Device: auto, cpu, cuda, cuda:N or mps [default: auto; with --resume the run's]
    #[arg(long)]
    pub device: Option<DeviceRequest>,
    /// Train in mixed precision on CUDA: bf16 (without a value) or fp16
    #[arg(long, value_name = "FLOAT", num_args = 0..=1, require_equals = true, default_missing_value = "bf16")]
    pub amp: Option<Amp>,
    /// Launch a GPU's work kernel by kernel, instead of a whole step as a recorded CUDA graph
    #[arg(long)]
    pub no_graphs: bool,
    /// Compute the same bits every time on a GPU, which is slower; the CPU does anyway
    #[arg(long)]
    pub deterministic: bool,
    /// Number of epochs; the recipe's phases keep their shares [default: the recipe's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Images per step [default: the recipe's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
    pub batch_size: Option<u32>,
    /// End a phase after N epochs without a better validation loss [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub early_stopping: Option<u32>,
    /// Height and width of the network's input [default: 32 for small images, else 224]
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub image_size: Option<u32>,
    /// Channels of the network's input: rgb, or gray for images without colour
    #[arg(long, value_enum, default_value = "rgb")]
    pub channels: ChannelsArg,
    /// Network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Train on images with any number of labels each
    #[arg(long)]
    pub multi_label: bool,
    /// Loss: cross-entropy, or focal for classes of unequal size [default: the recipe's]
    #[arg(long, value_enum)]
    pub loss: Option<LossArg>,
    /// Weights of the classes in the loss: balanced, or CLASS=WEIGHT,CLASS=WEIGHT [default: the recipe's]
    #[arg(long, value_name = "WEIGHTS")]
    pub class_weights: Option<ClassWeights>,
    /// Draw every image once in an epoch, or every class equally often [default: the recipe's]
    #[arg(long, value_enum)]
    pub sampling: Option<SamplingArg>,
    /// Evaluate the test images a second time together with their mirror images
    #[arg(long)]
    pub mirrored_test: bool,
    /// Seed of every random choice
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Use at most N training and N test images, balanced over the classes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Leave out images that cannot be decoded, and report their number
    #[arg(long)]
    pub skip_bad: bool,
    /// Number of encoded images in memory among which those of shards are shuffled, if they do not fit into memory
    /// decoded [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shuffle_window: Option<u32>,
}

/// Values of `--channels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChannelsArg {
    /// Red, green and blue
    Rgb,
    /// One channel: the luma, as Pillow's `L`
    Gray,
}

impl ChannelsArg {
    /// Number of channels.
    pub fn count(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Gray => 1,
        }
    }
}

/// Values of `--loss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LossArg {
    /// Cross-entropy; of each class with --multi-label
    CrossEntropy,
    /// Focal loss: images that are easy already count less
    Focal,
}

impl From<LossArg> for LossName {
    fn from(loss: LossArg) -> Self {
        match loss {
            LossArg::CrossEntropy => Self::CrossEntropy,
            LossArg::Focal => Self::Focal,
        }
    }
}

/// Values of `--sampling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SamplingArg {
    /// Every image once
    Shuffled,
    /// Every class equally often
    Balanced,
}

impl From<SamplingArg> for Sampling {
    fn from(sampling: SamplingArg) -> Self {
        match sampling {
            SamplingArg::Shuffled => Self::Shuffled,
            SamplingArg::Balanced => Self::Balanced,
        }
    }
}
