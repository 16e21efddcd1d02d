//! Flags of `train export`.

use std::path::PathBuf;

use clap::ValueEnum;
use ferronnx_models::card::{InputForm, Precision};
use ferronnx_train::export::Calibration;

use super::BareArgs;

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
  train export runs/photos --features --explain-outputs
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
    /// Add the pooled features of an image, which the last linear layer reads, as the output `features`: its embedding
    #[arg(long)]
    pub features: bool,
    /// Add the last feature maps as the output `feature_maps`, for the class activation maps of `infer explain`
    #[arg(long)]
    pub explain_outputs: bool,
    /// Keep batch norm as separate operators
    #[arg(long)]
    pub no_fold: bool,
    /// Largest difference to libtorch, relative to the largest logit
    /// [default: 1e-4 for fp32, 1e-2 for fp16; int8 is judged by the mean difference and the classes that change]
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
    /// ONNX Runtime library [default: $ORT_DYLIB_PATH, beside the program, ../lib, in a checkout .native/]
    #[arg(long, value_name = "FILE")]
    pub ort_lib: Option<PathBuf>,
    /// Bare checkpoint: any number of labels an image, each with a sigmoid and a threshold of 0.5
    #[arg(long)]
    pub multi_label: bool,
    /// Facts that a bare checkpoint does not tell.
    #[command(flatten)]
    pub bare: BareArgs,
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
