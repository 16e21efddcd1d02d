//! Devices that a session can run on: the CPU and NVIDIA GPUs.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use ferronnx_models::tolerance::Arithmetic;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{self, ExecutionProvider};
use ort::session::builder::SessionBuilder;

use crate::error::{Error, ErrorKind, OrtError, Result};

/// Device to run on: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// First GPU if ONNX Runtime has a working CUDA provider, else the CPU.
    #[default]
    Auto,
    /// CPU.
    Cpu,
    /// GPU of this number; there is no fallback.
    Cuda(usize),
}

/// Text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device: use auto, cpu, cuda or cuda:N")]
pub struct ParseDeviceError(String);

/// Parses `auto`, `cpu`, `cuda` or `cuda:N`, where N fits 31 bits.
impl FromStr for Device {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseDeviceError> {
        let number = |text: &str| text.parse().ok().filter(|&index: &usize| i32::try_from(index).is_ok());
        match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(number).map(Self::Cuda),
        }
        .ok_or_else(|| ParseDeviceError(text.into()))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Reason why a GPU cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// ONNX Runtime was built without CUDA.
    #[error("this ONNX Runtime has no CUDA provider")]
    NoProvider,
    /// The NVIDIA driver is not installed.
    #[error("there is no NVIDIA driver (libcuda.so.1): install one")]
    NoDriver,
    /// A library of CUDA or cuDNN cannot be found.
    #[error("{0} is missing")]
    MissingLibrary(String),
    /// The driver is older than ONNX Runtime needs.
    #[error("the NVIDIA driver is too old for this ONNX Runtime: update it")]
    OldDriver,
    /// The driver finds no GPU.
    #[error("no NVIDIA GPU is visible: check `nvidia-smi` and CUDA_VISIBLE_DEVICES")]
    NoGpu,
    /// There are GPUs, and none of this number.
    #[error("there is no GPU of this number{}", visible(*.0))]
    NoSuchGpu(Option<usize>),
    /// The library was built for other GPUs.
    #[error(
        "this ONNX Runtime was built for other GPUs than this one: install one that names it among its architectures"
    )]
    OtherGpus,
    /// The memory of the device is used up.
    #[error("the memory is too small{}", needed(*.0))]
    OutOfMemory(Option<u64>),
    /// The limit that was given for the memory of the device is used up.
    #[error("the limit for GPU memory is too small{}", needed(Some(*.0)))]
    MemoryLimit(u64),
    /// Any other failure that ONNX Runtime reports.
    #[error(transparent)]
    Other(OrtError),
}

/// Words for the number of GPUs that the driver finds.
fn visible(count: Option<usize>) -> String {
    match count {
        None => String::new(),
        Some(1) => ": cuda:0 is the only one".into(),
        Some(count) => format!(": there are {count}, cuda:0 to cuda:{}", count.saturating_sub(1)),
    }
}

/// Words for memory that could not be had.
fn needed(bytes: Option<u64>) -> String {
    match bytes {
        None => String::new(),
        Some(bytes) => format!(": another {:.1} MB were needed", bytes as f64 / 1e6),
    }
}

impl DeviceError {
    /// Recognises a failure of a device by the text of ONNX Runtime's message: its error code is the same for all.
    pub(crate) fn recognise(message: &str) -> Option<Self> {
        let after = |text: &str| message.split_once(text).map(|(_, rest)| rest);
        let number = |text: &str| {
            let digits = after(text)?.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u64>().ok()
        };
        let contains = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        if contains(&["not enabled in this build"]) {
            Some(Self::NoProvider)
        } else if contains(&["libcuda.so"]) {
            Some(Self::NoDriver)
        } else if let Some(library) = after("with error: ").and_then(|rest| rest.split(':').next()) {
            Some(Self::MissingLibrary(library.into()))
        } else if contains(&["Invalid device ID: ", "CUDA failure 101:"]) {
            let count = number("must be between 0 (inclusive) and ");
            Some(Self::NoSuchGpu(count.and_then(|count| usize::try_from(count).ok())))
        } else if let Some(bytes) = number("is smaller than requested bytes of ") {
            Some(Self::MemoryLimit(bytes))
        } else if contains(OUT_OF_MEMORY) {
            Some(Self::OutOfMemory(number("for requested buffer of size ")))
        } else if contains(OLD_DRIVER) {
            Some(Self::OldDriver)
        } else if contains(&["CUDA failure 100:"]) {
            Some(Self::NoGpu)
        } else if contains(&["CUDA failure 209:", "no kernel image is available"]) {
            Some(Self::OtherGpus)
        } else {
            None
        }
    }
}

/// Texts about a driver that is older than the library: too old for the runtime, for its intermediate code, and in
/// combination with a newer library of its own.
const OLD_DRIVER: &[&str] = &["CUDA failure 35:", "CUDA failure 222:", "CUDA failure 803:"];

/// Texts about memory that could not be had: of the arena, of CUDA and of its libraries.
const OUT_OF_MEMORY: &[&str] = &[
    "Failed to allocate memory for requested buffer",
    "despite calling Extend",
    "CUDA failure 2:",
    "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS failure 3:",
];

impl From<OrtError> for DeviceError {
    fn from(error: OrtError) -> Self {
        Self::recognise(error.message()).unwrap_or(Self::Other(error))
    }
}

/// Settings of the CUDA provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaOptions {
    /// Limit for the GPU memory of weights and values, in bytes.
    pub memory_limit: Option<usize>,
    /// Use TensorFloat-32 in matrix products, which is faster and rounds factors to 10 bits: logits move by about a
    /// thousandth. On by default.
    pub tf32: bool,
    /// Record passes as CUDA graphs and replay them, which costs memory and spares the CPU work.
    pub graphs: CudaGraphs,
    /// Search for the algorithms of convolutions.
    pub search: ConvSearch,
    /// Let convolutions compute in the layout `[N, H, W, C]` where ONNX Runtime has such kernels. Off by default.
    pub nhwc: bool,
}

/// Use of CUDA graphs: a pass is recorded once and then launched as a whole, not operator by operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CudaGraphs {
    /// Record a batch size at its third pass, where every operator runs on the GPU and is known to be safe to record.
    #[default]
    Auto,
    /// Record each batch size at its first pass; a model that cannot be recorded is refused.
    On,
    /// Launch each operator.
    Off,
}

/// Search for the algorithms of convolutions, which happens at the first pass of each shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConvSearch {
    /// The most thorough search, for passes that are repeated many times.
    #[default]
    Thorough,
    /// A quick choice, for a short run.
    Quick,
}

impl Default for CudaOptions {
    fn default() -> Self {
        let (graphs, search) = (CudaGraphs::default(), ConvSearch::default());
        Self { memory_limit: None, tf32: true, graphs, search, nhwc: false }
    }
}

/// Text that is none of auto, on and off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not auto, on or off")]
pub struct ParseCudaGraphsError(String);

/// Parses `auto`, `on` or `off`.
impl FromStr for CudaGraphs {
    type Err = ParseCudaGraphsError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseCudaGraphsError> {
        let all = [Self::Auto, Self::On, Self::Off];
        let found = all.into_iter().find(|graphs| graphs.to_string() == text);
        found.ok_or_else(|| ParseCudaGraphsError(text.into()))
    }
}

impl fmt::Display for CudaGraphs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// Execution provider of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    Cpu,
    Cuda(usize),
}

impl Provider {
    /// Name that ONNX Runtime gives the provider.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda(_) => "CUDAExecutionProvider",
        }
    }

    /// Arithmetic of convolutions and matrix products over 32-bit floats.
    pub(crate) fn arithmetic(self, options: &CudaOptions) -> Arithmetic {
        match self {
            Self::Cuda(_) if options.tf32 => Arithmetic::Tf32,
            _ => Arithmetic::Full,
        }
    }

    /// Registers the provider with a session.
    ///
    /// The CPU's is always there; registering it would turn its memory arena off. The GPU's number is always given:
    /// without it, a GPU that cannot be used is noticed only when the session is built.
    pub(crate) fn register(self, builder: &mut SessionBuilder, options: &CudaOptions) -> Result<()> {
        let Self::Cuda(index) = self else { return Ok(()) };
        let mut cuda = ep::CUDA::default()
            .with_device_id(index as i32)
            .with_tf32(options.tf32)
            .with_cuda_graph(options.graphs != CudaGraphs::Off)
            .with_prefer_nhwc(options.nhwc);
        if options.search == ConvSearch::Quick {
            cuda = cuda.with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
        }
        if let Some(bytes) = options.memory_limit {
            cuda = cuda.with_memory_limit(bytes);
        }
        cuda.register(builder).map_err(|error| cuda_error(index, error.into()))
    }
}

/// Removes `ExecutionProvider` from a provider's name: `CPU` for `CPUExecutionProvider`.
pub fn short_name(provider: &str) -> &str {
    provider.trim_end_matches("ExecutionProvider")
}

/// Tells whether ONNX Runtime was built with CUDA; a GPU need not be there.
pub(crate) fn has_cuda() -> bool {
    ep::CUDA::is_available().unwrap_or(false)
}

/// Loads NVIDIA's libraries from the `nvidia` folder beside ONNX Runtime's, where `cargo xtask setup --cuda` puts them.
///
/// Libraries that are not there may be installed in the system; otherwise the provider reports them.
pub(crate) fn preload_cuda(runtime: &Path) {
    // A library comes after those that it depends on.
    const LIBRARIES: [&str; 7] = ["cudart", "nvrtc", "cublasLt", "cublas", "curand", "cufft", "cudnn"];
    let Some(native) = runtime.parent().and_then(Path::parent) else { return };
    let Ok(packages) = fs::read_dir(native.join("nvidia")) else { return };
    let folders = packages.flatten().filter_map(|package| fs::read_dir(package.path().join("lib")).ok());
    let files: Vec<_> = folders.flatten().flatten().map(|file| file.path()).collect();
    for library in LIBRARIES {
        let stem = format!("lib{library}.so.");
        let named = |file: &&std::path::PathBuf| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&stem))
        };
        if let Some(file) = files.iter().find(named) {
            let _ = ort::util::preload_dylib(file);
        }
    }
}

/// Converts a failure of the CUDA provider on the GPU of this number.
pub(crate) fn cuda_error(index: usize, error: OrtError) -> Error {
    ErrorKind::Device { device: Device::Cuda(index), source: error.into() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["auto", "cpu", "cuda", "cuda:3"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        for name in ["gpu", "cuda:", "cuda:-1", "cuda:99999999999", "CPU", ""] {
            assert!(name.parse::<Device>().is_err(), "{name}");
        }
    }

    #[test]
    fn failures_in_a_few_words() {
        let cases = [
            ("CUDA execution provider is not enabled in this build.", "no CUDA provider"),
            (
                "Failed to load library /x/y.so with error: libcublasLt.so.13: cannot open",
                "libcublasLt.so.13 is missing",
            ),
            ("Failed to load library /x/y.so with error: libcuda.so.1: cannot open", "no NVIDIA driver"),
            ("Parse Failed CUDA failure 35: CUDA driver version is insufficient", "driver is too old"),
            ("Parse Failed CUDA failure 100: no CUDA-capable device", "no NVIDIA GPU"),
            (
                "CUDA failure 803: system has unsupported display driver / cuda driver combination",
                "driver is too old",
            ),
            (
                "Invalid device ID: 7, must be between 0 (inclusive) and 1 (exclusive).",
                "no GPU of this number: cuda:0 is the only one",
            ),
            (
                "Invalid device ID: 7, must be between 0 (inclusive) and 4 (exclusive).",
                "there are 4, cuda:0 to cuda:3",
            ),
            ("CUDA failure 101: invalid device ordinal", "there is no GPU of this number"),
            (
                "Available memory of 1000000 is smaller than requested bytes of 9437184",
                "the limit for GPU memory is too small: another 9.4 MB were needed",
            ),
            (
                "Failed to allocate memory for requested buffer of size 67108864",
                "the memory is too small: another 67.1 MB were needed",
            ),
            ("CUDA failure 2: out of memory", "the memory is too small"),
            (
                "CUDNN failure 4003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
                "the memory is too small",
            ),
            (
                "CUDA failure 209: no kernel image is available for execution on the device",
                "built for other GPUs than this one",
            ),
            ("something else", "something else"),
        ];
        for (message, expected) in cases {
            let text = crate::error::chain(&cuda_error(0, OrtError(message.into())));
            assert!(text.starts_with("cannot use the device cuda: ") && text.contains(expected), "{text}");
        }
    }
}
