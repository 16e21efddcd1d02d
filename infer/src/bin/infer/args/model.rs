//! Arguments that choose the model, the device and the engine.

use std::env;
use std::path::PathBuf;

use clap::Args;
use ferronnx_infer::Device;
use ferronnx_infer::assume::{Assumptions, parse_channels, read_labels};
use ferronnx_infer::attention::AttentionKernels;
use ferronnx_infer::device::CudaOptions;
use ferronnx_infer::session::Options;

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

    /// Number of threads, of the network and for decoding [default: one per core]
    #[arg(long, value_name = "N", value_parser = at_least_one(1024))]
    pub threads: Option<usize>,

    /// Settings of the engine.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Settings of the engine.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Attention kernels on the CPU: fused (CBAM as one operator) or stock (ONNX Runtime's operators)
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
#[command(next_help_heading = "GPUs (not tried on one yet)")]
pub struct CudaArgs {
    /// Limit for GPU memory, in MB
    #[arg(long, value_name = "MB", value_parser = at_least_one(1 << 24))]
    pub gpu_memory: Option<usize>,

    /// Use full 32-bit precision instead of TensorFloat-32
    #[arg(long)]
    pub no_tf32: bool,

    /// Record a CUDA graph for each batch size and replay it
    #[arg(long)]
    pub cuda_graphs: bool,
}

impl CudaArgs {
    /// Converts the flags to options of a session.
    pub fn options(&self) -> CudaOptions {
        let mut options = CudaOptions::default();
        options.memory_limit = self.gpu_memory.map(|megabytes| megabytes * 1_000_000);
        options.tf32 = !self.no_tf32;
        options.graphs = self.cuda_graphs;
        options
    }
}

/// Model and runtime library.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Model file [default: $INFER_MODEL, else ./model.onnx]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// ONNX Runtime's library or its folder [default: $ORT_DYLIB_PATH, beside the program, .native/]
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
}

impl FileArgs {
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
    /// File with the names of the classes, one a line [default: the model's `names`]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Height and width of the input, in pixels [default: from its shape]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub image_size: Option<u32>,

    /// Shorter side of an image before the centre is cut out [default: the image size; from 64 on, 256/224 of it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub resize: Option<u32>,

    /// Mean of each channel, for values in [0, 1]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, allow_hyphen_values = true)]
    pub mean: Option<[f32; 3]>,

    /// Standard deviation of each channel, for values in [0, 1]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels)]
    pub std: Option<[f32; 3]>,
}

impl AssumeArgs {
    /// Reads the labels and returns all assumptions.
    pub fn assumptions(&self) -> ferronnx_infer::Result<Assumptions> {
        let labels = self.labels.as_deref().map(read_labels).transpose()?;
        let mut assumptions = Assumptions::default();
        assumptions.labels = labels;
        assumptions.image_size = self.image_size;
        assumptions.resize = self.resize;
        assumptions.mean = self.mean;
        assumptions.std = self.std;
        Ok(assumptions)
    }
}
