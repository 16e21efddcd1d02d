//! Arguments that choose the model, the device and the engine.

use std::env;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ferronnx_infer::Device;
use ferronnx_infer::assume::{Assumptions, Range, parse_channels, read_labels};
use ferronnx_infer::attention::AttentionKernels;
use ferronnx_infer::device::{ConvSearch, CudaGraphs, CudaOptions};
use ferronnx_infer::session::Options;
use ferronnx_models::card::{Activation, ColorOrder, Fit, Layout, ResizeFilter, Size};

use super::at_least_one;

/// Model, and the device it runs on.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Model and runtime library.
    #[command(flatten)]
    pub files: FileArgs,

    /// Device: auto, cpu, cuda or cuda:N; only auto falls back to the CPU
    #[arg(long, default_value_t)]
    pub device: Device,

    /// Number of threads, of the network and for decoding [default: one per core, within the CPU quota]
    #[arg(long, value_name = "N", value_parser = at_least_one(1024))]
    pub threads: Option<usize>,

    /// Settings of the engine.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Settings of the engine.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Attention on the CPU: auto (CBAM as one operator of ours, SE and ECA by ONNX Runtime's operators, which are as fast),
    /// fused (each as one operator) or stock (ONNX Runtime's operators)
    #[arg(long, value_name = "HOW", default_value_t)]
    pub attention: AttentionKernels,

    /// Let idle threads of the network sleep instead of spin, as they do when images are decoded
    #[arg(long)]
    pub no_spinning: bool,

    /// Settings of GPUs.
    #[command(flatten)]
    pub cuda: CudaArgs,
}

impl EngineArgs {
    /// Options of a session, except device and threads.
    pub fn options(&self, files: &FileArgs) -> Options {
        let options = Options::default()
            .attention(self.attention)
            .spinning(!self.no_spinning)
            .cuda(self.cuda.options());
        match &files.ort_lib {
            Some(library) => options.runtime(library),
            None => options,
        }
    }
}

/// Settings of GPUs.
#[derive(Debug, Args)]
#[command(next_help_heading = "GPUs")]
pub struct CudaArgs {
    /// Limit for GPU memory, in MB
    #[arg(long, value_name = "MB", value_parser = at_least_one(1 << 24))]
    pub gpu_memory: Option<usize>,

    /// Use full 32-bit precision instead of TensorFloat-32
    #[arg(long)]
    pub no_tf32: bool,

    /// Record passes as CUDA graphs and replay them: auto, on (each batch size at its first pass) or off
    #[arg(long, value_name = "WHEN", default_value_t, num_args = 0..=1, default_missing_value = "on", require_equals = true)]
    pub cuda_graphs: CudaGraphs,

    /// Choose the algorithms of convolutions quickly
    #[arg(long, hide = true)]
    pub quick_search: bool,

    /// Compute convolutions in the layout [N, H, W, C]
    #[arg(long, hide = true)]
    pub nhwc: bool,
}

impl CudaArgs {
    /// Converts the flags to options of a session.
    pub fn options(&self) -> CudaOptions {
        let mut options = CudaOptions::default();
        options.memory_limit = self.gpu_memory.map(|megabytes| megabytes * 1_000_000);
        options.tf32 = !self.no_tf32;
        options.graphs = self.cuda_graphs;
        options.nhwc = self.nhwc;
        if self.quick_search {
            options.search = ConvSearch::Quick;
        }
        options
    }
}

/// Model and runtime library.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Model file [default: $INFER_MODEL, else ./model.onnx]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// ONNX Runtime's library or its folder [default: $ORT_DYLIB_PATH, beside the program, ../lib, in a checkout .native/]
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
}

impl FileArgs {
    /// The same with a model that was given without `--model`, if there is one.
    pub fn or(&self, model: Option<&Path>) -> Self {
        let model = model.map(PathBuf::from).or_else(|| self.model.clone());
        Self { model, ort_lib: self.ort_lib.clone() }
    }

    /// Path of the model that the user chose.
    pub fn chosen_model(&self) -> Option<PathBuf> {
        let variable = || env::var_os("INFER_MODEL").filter(|path| !path.is_empty());
        self.model.clone().or_else(|| variable().map(PathBuf::from))
    }

    /// Path of the model, chosen or default.
    pub fn path(&self) -> PathBuf {
        self.chosen_model().unwrap_or_else(|| "model.onnx".into())
    }
}

impl ModelArgs {
    /// Path of the model, chosen or default.
    pub fn path(&self) -> PathBuf {
        self.files.path()
    }

    /// Options of the session.
    pub fn options(&self) -> Options {
        self.engine.options(&self.files).device(self.device).threads(self.threads)
    }
}

/// Facts about a model without a card.
#[derive(Debug, Args)]
#[command(next_help_heading = "Models without a card, made by other tools")]
pub struct AssumeArgs {
    /// File with the names of the classes, one a line or as JSON [default: the model's `names`, or labels.txt beside it]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Height and width of the input, in pixels [default: from its shape]
    #[arg(long, value_name = "N|HxW")]
    pub image_size: Option<Size>,

    /// Shorter side of an image before the centre is cut out [default: the image size; from 64 on, 256/224 of it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub resize: Option<u32>,

    /// Fit of an image to the input [default: crop]
    #[arg(long, value_enum, value_name = "HOW")]
    pub fit: Option<FitArg>,

    /// Filter that resizes images, with antialiasing as in Pillow unless its name says otherwise [default: bilinear]
    #[arg(long, value_enum, value_name = "FILTER")]
    pub interpolation: Option<InterpolationArg>,

    /// Order of the input's dimensions [default: from its shape]
    #[arg(long, value_enum)]
    pub layout: Option<LayoutArg>,

    /// Channels of the input and their order [default: rgb; gray for one channel]
    #[arg(long, value_enum)]
    pub channels: Option<ChannelsArg>,

    /// Largest value of a channel, before mean and std: 1 for values from 0 to 1, 255 for values from 0 to 255
    #[arg(long, value_enum, value_name = "1|255")]
    pub scale: Option<ScaleArg>,

    /// Mean of each channel, in the order of --channels
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, allow_hyphen_values = true)]
    pub mean: Option<Channels>,

    /// Standard deviation of each channel, in the order of --channels
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels)]
    pub std: Option<Channels>,

    /// Step from the outputs to probabilities [default: as the end of the graph shows]
    #[arg(long, value_enum, value_name = "STEP")]
    pub activation: Option<ActivationArg>,
}

/// Numbers of each channel. An alias, for clap would take a `Vec` for a flag that is given several times.
type Channels = Vec<f32>;

impl AssumeArgs {
    /// Reads the labels and returns all assumptions.
    pub fn assumptions(&self) -> ferronnx_infer::Result<Assumptions> {
        let labels = self.labels.as_deref().map(read_labels).transpose()?;
        let mut assumptions = Assumptions::default();
        assumptions.labels = labels;
        assumptions.image_size = self.image_size;
        assumptions.resize = self.resize;
        assumptions.fit = self.fit.map(Into::into);
        assumptions.filter = self.interpolation.map(Into::into);
        assumptions.layout = self.layout.map(Into::into);
        assumptions.channels = self.channels.map(Into::into);
        assumptions.range = self.scale.map(Into::into);
        assumptions.mean = self.mean.clone();
        assumptions.std = self.std.clone();
        assumptions.activation = self.activation.map(Into::into);
        Ok(assumptions)
    }
}

/// Declares the values of a flag, and the value of the library that each stands for.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident -> $target:ty { $($(#[$value_doc:meta])* $value:ident => $to:expr,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub enum $name { $($(#[$value_doc])* $value,)+ }

        impl From<$name> for $target {
            fn from(value: $name) -> Self {
                match value { $($name::$value => $to,)+ }
            }
        }
    };
}

choices! {
    /// Fit of an image to the input.
    FitArg -> Fit {
        /// Resize with the aspect ratio kept, and cut out the centre
        Crop => Fit::Crop,
        /// Resize to the size of the input, whatever the aspect ratio
        Squash => Fit::Squash,
        /// Resize with the aspect ratio kept, with a grey border
        Letterbox => Fit::Letterbox,
    }
}

choices! {
    /// Filter that resizes images.
    InterpolationArg -> ResizeFilter {
        /// Triangle filter, as Pillow's BILINEAR
        Bilinear => ResizeFilter::BilinearAntialias,
        /// Cubic filter, as Pillow's BICUBIC
        Bicubic => ResizeFilter::BicubicAntialias,
        /// Nearest pixel
        Nearest => ResizeFilter::Nearest,
        /// Lanczos filter, as Pillow's LANCZOS
        Lanczos => ResizeFilter::LanczosAntialias,
        /// Triangle filter without antialiasing, as TensorFlow's and OpenCV's
        BilinearAliased => ResizeFilter::Bilinear,
        /// Cubic filter without antialiasing, as TensorFlow's
        BicubicAliased => ResizeFilter::Bicubic,
    }
}

choices! {
    /// Order of the input's dimensions.
    LayoutArg -> Layout {
        /// [N, C, H, W], as in PyTorch
        Nchw => Layout::Nchw,
        /// [N, H, W, C], as in Keras
        Nhwc => Layout::Nhwc,
    }
}

choices! {
    /// Channels of the input and their order.
    ChannelsArg -> ColorOrder {
        /// Red, green, blue
        Rgb => ColorOrder::Rgb,
        /// Blue, green, red, as in OpenCV and Caffe
        Bgr => ColorOrder::Bgr,
        /// One channel, the luma
        Gray => ColorOrder::Gray,
    }
}

choices! {
    /// Largest value of a channel.
    ScaleArg -> Range {
        /// Values from 0 to 1: bytes divided by 255
        #[value(name = "1")]
        One => Range::One,
        /// Values from 0 to 255: bytes as they are
        #[value(name = "255")]
        Byte => Range::Byte,
    }
}

choices! {
    /// Step from the outputs to probabilities.
    ActivationArg -> Activation {
        /// The outputs are logits, exactly one class is right
        Softmax => Activation::Softmax,
        /// The outputs are logits, any number of classes is right
        Sigmoid => Activation::Sigmoid,
        /// The outputs are probabilities
        None => Activation::None,
    }
}

/// Parses a threshold.
pub fn probability(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("expected a probability from 0 to 1, as 0.5".into()),
    }
}
