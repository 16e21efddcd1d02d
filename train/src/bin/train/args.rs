//! What can be typed.

use std::path::PathBuf;

use ferronnx_models::card::{InputForm, Precision};

use clap::{Parser, Subcommand, ValueEnum};
use ferronnx_infer::assume::parse_channels;
use ferronnx_models::layers::Attention;
use ferronnx_models::resnet::Stem;
use ferronnx_train::device::DeviceRequest;
use ferronnx_train::export::Calibration;
use ferronnx_train::pretrained::StemInit;
use ferronnx_train::trainer::Amp;

/// Train an image classifier and write it as ONNX, without Python.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  train fit --data photos --out runs/photos      learn from photos/CLASS/*.jpg
  train export runs/photos -o model.onnx         write the model, checked against libtorch
  infer classify --model model.onnx photo.jpg    use it"
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network on a folder of images
    Fit(FitArgs),
    /// Write a trained network as .onnx, verified against libtorch
    Export(ExportArgs),
    /// Show the layers of a network: output shapes, parameters, multiply-accumulates
    Summary(SummaryArgs),
}

/// Flags of `train fit`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train fit --data photos
  train fit --data photos --epochs 10 --out runs/ten
  train fit --data photos --pretrained imagenet --image-size 224
  train fit --data cifar10 --pretrained resnet18.pth --recipe differential
  train fit --data photos --recipe my.toml --limit 200 --epochs 1   a short try
  train fit --resume runs/ten                                      go on where it stopped

DATA is DIR/CLASS/*.jpg, or DIR/train/CLASS/*.jpg with DIR/test (or DIR/val), or cifar10 (downloaded once), or
cifar10:PATH of its binary archive. Ctrl-C ends the run after saving; a second Ctrl-C ends it at once."
)]
pub struct FitArgs {
    /// Folder of class folders, cifar10, or cifar10:PATH
    #[arg(long, value_name = "DIR|cifar10[:PATH]", required_unless_present = "resume")]
    pub data: Option<PathBuf>,
    /// Go on with a run exactly where it stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "data", "recipe", "pretrained", "stem_init", "freeze_stem", "out", "epochs", "batch_size", "early_stopping",
        "image_size", "stem", "attention", "attention_ratio", "attention_kernel", "seed", "limit", "amp",
    ])]
    pub resume: Option<PathBuf>,
    /// Recipe: three-phase, differential, from-scratch, or a TOML file [default: three-phase with pretrained
    /// weights, else from-scratch]
    #[arg(long, value_name = "NAME|FILE")]
    pub recipe: Option<String>,
    /// Weights to start from: a .safetensors or .pth file, imagenet (timm's resnet18.tv_in1k, downloaded
    /// once), or none
    #[arg(long, default_value = "none", value_name = "FILE|imagenet|none")]
    pub pretrained: String,
    /// A 3x3 stem from a pretrained 7x7 one: its centre, or random
    #[arg(long, default_value = "centre", value_name = "centre|random")]
    pub stem_init: StemInit,
    /// Freeze the stem in the phases that do not name it, even when it is new
    #[arg(long)]
    pub freeze_stem: bool,
    /// Run folder [default: runs/DATA-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or mps [default: auto; with --resume the run's]
    #[arg(long)]
    pub device: Option<DeviceRequest>,
    /// Mixed precision on CUDA: bf16 (the default) or fp16
    #[arg(long, value_name = "FLOAT", num_args = 0..=1, require_equals = true, default_missing_value = "bf16")]
    pub amp: Option<Amp>,
    /// Epochs in all; the recipe's phases keep their shares [default: the recipe's]
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
    /// First layers of the network [default: by image size]
    #[arg(long, value_enum)]
    pub stem: Option<StemArg>,
    /// Attention after each stage
    #[arg(long, value_enum, default_value = "cbam")]
    pub attention: AttentionArg,
    /// Reduction of the channel attention's hidden layer
    #[arg(long, default_value_t = Attention::default().ratio)]
    pub attention_ratio: usize,
    /// Kernel of the spatial attention, odd
    #[arg(long, default_value_t = Attention::default().kernel)]
    pub attention_kernel: usize,
    /// Seed of every random choice
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Use at most N training and N test images, from all classes alike
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Leave out images that cannot be decoded, and count them
    #[arg(long)]
    pub skip_bad: bool,
}

/// `--stem`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StemArg {
    /// 3x3 convolution, no pooling
    Cifar,
    /// 7x7 convolution and pooling, both with stride 2
    Imagenet,
}

impl From<StemArg> for Stem {
    fn from(stem: StemArg) -> Self {
        match stem {
            StemArg::Cifar => Self::Cifar,
            StemArg::Imagenet => Self::Imagenet,
        }
    }
}

/// `--attention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AttentionArg {
    /// Channel and spatial attention
    Cbam,
    /// A plain ResNet18
    None,
}

/// Flags of `train export`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train export runs/photos
  train export runs/photos -o photos.onnx --precision fp16 --input uint8
  train export runs/photos -o small.onnx --precision int8
  train export weights.pth --labels labels.txt --image-size 32 --images photos/test

The file is run under ONNX Runtime and compared with libtorch before it is put in place."
)]
pub struct ExportArgs {
    /// Run folder, or a .safetensors or .pth checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub source: PathBuf,
    /// The file to write
    #[arg(short, long, default_value = "model.onnx", value_name = "FILE")]
    pub output: PathBuf,
    /// Version of the ONNX operators, 17 to 23
    #[arg(long, default_value_t = ferronnx_models::onnx::Opset::default().version())]
    pub opset: u32,
    /// What the network is computed in; int8 is calibrated on the run's training images
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    /// What the input takes: normalised floats [batch, 3, H, W], or the images' bytes [batch, H, W, 3]
    #[arg(long, value_enum, default_value_t)]
    pub input: InputArg,
    /// Give the attention of every stage as further outputs, which `infer explain` shows
    #[arg(long)]
    pub attention_outputs: bool,
    /// Keep batch norm as operators of its own
    #[arg(long)]
    pub no_fold: bool,
    /// Largest difference to libtorch, relative to the largest logit
    /// [default: 1e-4 for fp32, 1e-2 for fp16, 0.1 for int8]
    #[arg(long, value_name = "X")]
    pub tolerance: Option<f64>,
    /// Images to compare on: class folders, or a folder of images
    /// [default: the run's validation images; generated ones for a bare checkpoint]
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// int8: images to find the ranges of values on [default: 128 of the run's training images]
    #[arg(long, value_name = "DIR")]
    pub calibration: Option<PathBuf>,
    /// int8: what the range of a value is
    #[arg(long, value_enum, default_value_t)]
    pub ranges: RangesArg,
    /// Compare every node with libtorch too, and show the N worst
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20")]
    pub drift: Option<usize>,
    /// ONNX Runtime's library [default: $ORT_DYLIB_PATH, beside the executable, .native/]
    #[arg(long, value_name = "FILE")]
    pub ort_lib: Option<PathBuf>,
    /// Bare checkpoint: class names, one a line [default: class 0, class 1, ...]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Bare checkpoint: height and width of the input [default: 32 for a 3x3 stem, 224 for a 7x7 one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub image_size: Option<u32>,
    /// Bare checkpoint: mean per channel in [0, 1] [default: CIFAR-10's or ImageNet's, by size]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels)]
    pub mean: Option<[f32; 3]>,
    /// Bare checkpoint: standard deviation per channel in [0, 1] [default: as for --mean]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels)]
    pub std: Option<[f32; 3]>,
}

/// `--precision` of `train export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PrecisionArg {
    /// 32-bit floats
    #[default]
    Fp32,
    /// 16-bit floats, but for what is numerically sensitive: half the size
    Fp16,
    /// 8-bit integers, but for what is numerically sensitive: a quarter of the size, and faster on CPUs
    Int8,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::Fp32 => Self::Fp32,
            PrecisionArg::Fp16 => Self::Fp16,
            PrecisionArg::Int8 => Self::Int8,
        }
    }
}

/// `--ranges` of `train export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum RangesArg {
    /// From the least to the greatest value seen
    #[default]
    MinMax,
    /// Without the one in 100,000 values at either end
    Percentile,
}

impl From<RangesArg> for Calibration {
    fn from(ranges: RangesArg) -> Self {
        match ranges {
            RangesArg::MinMax => Self::MinMax,
            RangesArg::Percentile => Self::Percentile,
        }
    }
}

/// `--input` of `train export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum InputArg {
    /// Normalised images
    #[default]
    Float,
    /// Images as they are
    Uint8,
}

impl From<InputArg> for InputForm {
    fn from(input: InputArg) -> Self {
        match input {
            InputArg::Float => Self::Float,
            InputArg::Uint8 => Self::Uint8,
        }
    }
}

/// Flags of `train summary`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train summary                          the default network, with 10 classes
  train summary runs/photos
  train summary resnet18.pth --image-size 224 --format json"
)]
pub struct SummaryArgs {
    /// Run folder, or a .safetensors or .pth checkpoint [default: the network of a new run]
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub source: Option<PathBuf>,
    /// Height and width of the input [default: the run's; else 32 for a 3x3 stem, 224 for a 7x7 one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub image_size: Option<u32>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    pub format: SummaryFormat,
}

/// `--format` of `train summary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SummaryFormat {
    /// For people
    Table,
    /// One object
    Json,
}
