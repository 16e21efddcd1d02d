//! Where a session computes.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use ort::ep::{self, ExecutionProvider};
use ort::session::builder::SessionBuilder;

use crate::error::{Error, Result, runtime_message};

/// Where a session computes: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The first GPU when ONNX Runtime has a CUDA provider and it works, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number, and no other device.
    Cuda(usize),
}

/// Not the name of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device: use auto, cpu, cuda or cuda:N")]
pub struct ParseDeviceError(String);

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

/// What is particular to GPUs; the CPU takes no notice. Not run on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CudaOptions {
    /// Most memory of the GPU for weights and values, in bytes.
    pub memory_limit: Option<usize>,
    /// Products of 32-bit floats as they are, not rounded to TensorFloat-32 (10 bits), which is faster and moves logits
    /// by about a thousandth.
    pub full_precision: bool,
    /// Record the operators of a pass as a CUDA graph for each size of batch, and replay it: less work for the CPU between
    /// them, for memory of its own.
    pub graphs: bool,
}

/// What executes the operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    Cpu,
    Cuda(usize),
}

impl Provider {
    /// ONNX Runtime's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda(_) => "CUDAExecutionProvider",
        }
    }

    /// Registers the provider, or says why that fails. The CPU's needs no registration, and registering it would
    /// turn its arena off.
    ///
    /// The device's number is always given: without it, a GPU that cannot be used shows only when the session
    /// is built.
    pub(crate) fn register(self, builder: &mut SessionBuilder, options: &CudaOptions) -> Result<()> {
        let Self::Cuda(index) = self else { return Ok(()) };
        let mut cuda = ep::CUDA::default()
            .with_device_id(index as i32)
            .with_tf32(!options.full_precision)
            .with_cuda_graph(options.graphs);
        if let Some(bytes) = options.memory_limit {
            cuda = cuda.with_memory_limit(bytes);
        }
        cuda.register(builder).map_err(|error| cuda_error(index, &runtime_message(&error)))
    }
}

/// What people call the provider of this name: `CPU` for `CPUExecutionProvider`.
pub fn short_name(provider: &str) -> &str {
    provider.trim_end_matches("ExecutionProvider")
}

/// Whether this ONNX Runtime has a CUDA provider; that it works is another matter.
pub(crate) fn has_cuda() -> bool {
    ep::CUDA::is_available().unwrap_or(false)
}

/// Loads NVIDIA's libraries from the `nvidia` folder beside ONNX Runtime's, where `cargo xtask setup --cuda` puts
/// them. What is not there may still be installed in the system; the provider says so if not.
pub(crate) fn preload_cuda(runtime: &Path) {
    // In the order of their dependencies.
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

/// Why the GPU cannot be used, in a few words. The text is the only key: the code is the same for all.
pub(crate) fn cuda_error(index: usize, message: &str) -> Error {
    let missing = message.split_once("with error: ").and_then(|(_, rest)| rest.split(':').next());
    let reason = if message.contains("not enabled in this build") {
        "this ONNX Runtime has no CUDA provider: install the CUDA form with `cargo xtask setup --cuda`".into()
    } else if message.contains("libcuda.so") {
        "there is no NVIDIA driver (libcuda.so.1): install one".into()
    } else if let Some(library) = missing {
        format!("{library} is missing: install it with `cargo xtask setup --cuda`")
    } else if message.contains("CUDA failure 35:") {
        "the NVIDIA driver is too old for this ONNX Runtime: update it".into()
    } else if message.contains("CUDA failure 100:") {
        "no NVIDIA GPU is visible: check `nvidia-smi` and CUDA_VISIBLE_DEVICES".into()
    } else {
        message.into()
    };
    let reason = format!("{reason}, or use --device cpu");
    Error::Device { device: Device::Cuda(index).to_string(), reason }
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
            ("something else", "something else, or use --device cpu"),
        ];
        for (message, expected) in cases {
            let text = cuda_error(0, message).to_string();
            assert!(text.starts_with("--device cuda: ") && text.contains(expected), "{text}");
        }
    }
}
