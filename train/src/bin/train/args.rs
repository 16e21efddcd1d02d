//! Command line arguments.

use std::path::PathBuf;

use ferronnx_models::card::{InputForm, Precision};

use clap::{Parser, Subcommand, ValueEnum};
use ferronnx_infer::assume::parse_channels;
use ferronnx_models::resnet::Stem;
use ferronnx_train::data::Sampling;
use ferronnx_train::device::DeviceRequest;
use ferronnx_train::export::Calibration;
use ferronnx_train::loss::{ClassWeights, LossName};
use ferronnx_train::pretrained::StemInit;
use ferronnx_train::trainer::Amp;

/// Train an image classifier and export it to ONNX, without Python.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  train fit --data photos --out runs/photos      train on photos/CLASS/*.jpg
  train export runs/photos -o model.onnx         export the model, verified against libtorch
  infer classify --model model.onnx photo.jpg    classify an image"
)]
pub struct Args {
    /// Subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network on a folder of images, or resume a run
    Fit(FitArgs),
    /// Find a learning rate: measure the loss at rising rates
    FindLr(FindLrArgs),
    /// Export a trained network to .onnx, verified against libtorch
    Export(ExportArgs),
    /// Compare runs: accuracies, times, and the settings that differ
    Compare(CompareArgs),
    /// Show a network's layers: output shapes, parameters, multiply-accumulates
    Summary(SummaryArgs),
}

/// Flags of `train fit`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train fit --data photos
  train fit --data photos --dry-run                                 look at the data first
  train fit --data photos --epochs 10 --out runs/ten
  train fit --data photos --pretrained imagenet --image-size 224
  train fit --data cifar10 --pretrained resnet18.pth --recipe differential
  train fit --data photos --recipe my.toml --limit 200 --epochs 1   try a recipe
  train fit --data photos --learning-rate 3e-3                      as `train find-lr` suggests
  train fit --data photos --mlflow http://localhost:5000            track the run with MLflow
  train fit --resume runs/ten                                       resume a run

DATA is DIR/CLASS/*.jpg, or DIR/train/CLASS/*.jpg with DIR/test (and DIR/val), or LIST.csv with `path,label[,split]`, or
cifar10 (downloaded once), or cifar10:PATH of its binary archive. Ctrl-C saves the run and stops it; a second Ctrl-C stops it at once."
)]
pub struct FitArgs {
    /// Folder of class folders, list of images, cifar10, or cifar10:PATH
    #[arg(long, value_name = "DIR|LIST.csv|cifar10[:PATH]", required_unless_present = "resume")]
    pub data: Option<PathBuf>,
    /// Resume a run exactly where it stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "data", "recipe", "pretrained", "pretrained_key", "stem_init", "freeze_stem", "out", "epochs", "batch_size", "early_stopping",
        "image_size", "channels", "learning_rate", "stem", "attention", "attention_ratio", "attention_kernel", "seed", "limit", "amp",
        "multi_label", "loss", "class_weights", "sampling", "mirrored_test", "deterministic",
    ])]
    pub resume: Option<PathBuf>,
    /// Run folder [default: runs/DATA-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Learning rate of the recipe's first phase; all other rates keep their ratio to it [default: the recipe's]
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    pub learning_rate: Option<f64>,
    /// Send parameters, metrics and the report to an MLflow server [default: $MLFLOW_TRACKING_URI, with
    /// $MLFLOW_TRACKING_USERNAME and $MLFLOW_TRACKING_PASSWORD, or $MLFLOW_TRACKING_TOKEN]
    #[arg(long, value_name = "URL")]
    pub mlflow: Option<String>,
    /// Experiment on the MLflow server [default: $MLFLOW_EXPERIMENT_NAME, else Default]
    #[arg(long, value_name = "NAME")]
    pub mlflow_experiment: Option<String>,
    /// Train nothing; say what is in the data: classes, sizes, duplicates, unreadable images
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
    /// Output format of --dry-run
    #[arg(long, value_enum, default_value = "text", requires = "dry_run")]
    pub format: DryRunFormat,
    /// Settings of the run.
    #[command(flatten)]
    pub setup: SetupArgs,
}

/// Settings of a new run, for `train fit` and `train find-lr`.
#[derive(Debug, clap::Args)]
pub struct SetupArgs {
    /// Recipe: one-cycle, fine-tune, three-phase, differential, from-scratch, or a TOML file [default: fine-tune with
    /// pretrained weights, else one-cycle]
    #[arg(long, value_name = "NAME|FILE")]
    pub recipe: Option<String>,
    /// Pretrained weights: a .safetensors or .pth file, imagenet (timm's resnet18.tv_in1k, downloaded once), or
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
    /// First layers of the network [default: by image size]
    #[arg(long, value_enum)]
    pub stem: Option<StemArg>,
    /// Attention after each stage
    #[arg(long, value_enum, default_value = "cbam")]
    pub attention: AttentionArg,
    /// Reduction ratio of the channel attention [default: 16]
    #[arg(long, value_name = "N")]
    pub attention_ratio: Option<usize>,
    /// Kernel size of the spatial attention, odd [default: 7]
    #[arg(long, value_name = "N")]
    pub attention_kernel: Option<usize>,
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
}

/// Values of `--format` of `train fit --dry-run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRunFormat {
    /// Tables and sentences
    Text,
    /// One JSON object
    Json,
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

/// Parses a positive, finite number.
fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match number > 0.0 && number.is_finite() {
        true => Ok(number),
        false => Err("must be positive".into()),
    }
}

/// Flags of `train find-lr`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train find-lr --data photos
  train find-lr --data photos --recipe my.toml --batch-size 128
  train find-lr --data photos --pretrained imagenet --from 1e-6 --to 1 --steps 200
  train find-lr --data photos --format json

Trains the first phase of the recipe for some steps at rising learning rates; keeps only the page.
Use the suggestion with the same flags: train fit ... --learning-rate X"
)]
pub struct FindLrArgs {
    /// Folder of class folders, list of images, cifar10, or cifar10:PATH
    #[arg(long, value_name = "DIR|LIST.csv|cifar10[:PATH]")]
    pub data: PathBuf,
    /// Learning rate of the first step
    #[arg(long, value_name = "X", default_value = "1e-7", value_parser = positive, allow_negative_numbers = true)]
    pub from: f64,
    /// Learning rate of the last step; training that diverges ends before
    #[arg(long, value_name = "X", default_value = "10", value_parser = positive, allow_negative_numbers = true)]
    pub to: f64,
    /// Number of steps
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..))]
    pub steps: u32,
    /// Page to write, with the plot
    #[arg(long, value_name = "FILE", default_value = "lr-finder.html")]
    pub report: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: SummaryFormat,
    /// Settings of the run.
    #[command(flatten)]
    pub setup: SetupArgs,
}

/// Values of `--stem`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StemArg {
    /// 3x3 convolution without pooling
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

/// Values of `--attention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AttentionArg {
    /// Channel and spatial attention
    Cbam,
    /// No attention: a plain ResNet18
    None,
}

/// Numbers of each channel. An alias, for clap would take a `Vec` for a flag that is given several times.
type Numbers = Vec<f32>;

/// Flags of `train export`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train export runs/photos
  train export runs/photos -o photos.onnx --precision fp16 --input uint8
  train export runs/photos -o small.onnx --precision int8
  train export runs/photos --calibrate
  train export weights.pth --labels labels.txt --image-size 32 --images photos/test

The file is run on ONNX Runtime and compared with libtorch before it is kept."
)]
pub struct ExportArgs {
    /// Run folder, or a checkpoint: a .safetensors or .pth file, or a folder of Hugging Face
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub source: PathBuf,
    /// File to write
    #[arg(short, long, default_value = "model.onnx", value_name = "FILE")]
    pub output: PathBuf,
    /// ONNX opset version, 17 to 23
    #[arg(long, default_value_t = ferronnx_models::onnx::Opset::default().version())]
    pub opset: u32,
    /// Precision of the computation; int8 is calibrated on the run's training images
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    /// Form of the input: normalised floats [batch, 3, H, W], or bytes [batch, H, W, 3]
    #[arg(long, value_enum, default_value_t)]
    pub input: InputArg,
    /// Add the attention of every stage as further outputs, for `infer explain`
    #[arg(long)]
    pub attention_outputs: bool,
    /// Keep batch norm as separate operators
    #[arg(long)]
    pub no_fold: bool,
    /// Largest difference to libtorch, relative to the largest logit
    /// [default: 1e-4 for fp32, 1e-2 for fp16, 0.1 for int8]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    /// Divide the logits by a temperature, so that probabilities match reality; it is fitted on the validation images
    #[arg(long)]
    pub calibrate: bool,
    /// Images to verify on: class folders, or a folder of images
    /// [default: the run's validation images; generated ones for a bare checkpoint]
    #[arg(long, alias = "pictures", value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// int8: images to calibrate on [default: 128 of the run's training images]
    #[arg(long, value_name = "DIR")]
    pub calibration: Option<PathBuf>,
    /// int8: method of finding the ranges of values
    #[arg(long, value_enum, default_value_t)]
    pub ranges: RangesArg,
    /// Compare every node with libtorch, and show the N largest differences
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20")]
    pub drift: Option<usize>,
    /// ONNX Runtime library [default: $ORT_DYLIB_PATH, beside the executable, .native/]
    #[arg(long, value_name = "FILE")]
    pub ort_lib: Option<PathBuf>,
    /// Bare checkpoint: class names, one per line [default: class 0, class 1, ...]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Bare checkpoint: height and width of the input [default: 32 for a 3x3 stem, 224 for a 7x7 one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub image_size: Option<u32>,
    /// Bare checkpoint: any number of labels an image, each with a sigmoid and a threshold of 0.5
    #[arg(long)]
    pub multi_label: bool,
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

/// Values of `--precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PrecisionArg {
    /// 32-bit floats
    #[default]
    Fp32,
    /// 16-bit floats, except in numerically sensitive operators: half the size
    Fp16,
    /// 8-bit integers, except in numerically sensitive operators: a quarter of the size, faster on CPUs
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

/// Values of `--ranges`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum RangesArg {
    /// From the smallest to the largest value
    #[default]
    MinMax,
    /// Without one in 100,000 values at either end
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

/// Values of `--input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum InputArg {
    /// Normalised floats
    #[default]
    Float,
    /// Bytes of the images; the file normalises them
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

/// Flags of `train compare`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train compare runs/a runs/b
  train compare runs/* --report compare.html
  train compare runs/* --format csv > runs.csv"
)]
pub struct CompareArgs {
    /// Run folders; files among them are left out
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: CompareFormat,
    /// Page to write, with the curves of all runs
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Values of `--format` of `train compare`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// Table
    Table,
    /// One JSON object
    Json,
    /// CSV with a header
    Csv,
    /// Table in Markdown
    Markdown,
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
    /// Run folder, or a checkpoint (a .safetensors or .pth file, or a folder of Hugging Face) [default: the network of a new run]
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub source: Option<PathBuf>,
    /// Height and width of the input [default: the run's; else 32 for a 3x3 stem, 224 for a 7x7 one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub image_size: Option<u32>,
    /// Bare checkpoint: key of the weights, where the file holds several networks, such as model_ema
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Bare checkpoint: pass over tensors with these names, though they may belong to further layers (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub leave_out: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: SummaryFormat,
}

/// Values of `--format` of `train summary` and `train find-lr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SummaryFormat {
    /// Table
    Table,
    /// One JSON object
    Json,
}
