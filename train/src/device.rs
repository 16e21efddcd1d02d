//! Where training runs.

use std::fmt;
use std::str::FromStr;

use tch::{Cuda, Device};

/// What `--device` asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceRequest {
    /// CUDA when it is there, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device; never falls back.
    Cuda(usize),
    /// Apple's GPU; never falls back.
    Mps,
}

impl FromStr for DeviceRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text:?} is not a device: use auto, cpu, cuda, cuda:N or mps");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "mps" => Ok(Self::Mps),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(unknown),
        }
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Mps => f.write_str("mps"),
        }
    }
}

/// An explicit device that is not there.
#[derive(Debug, thiserror::Error)]
#[error("--device {request}: {why}")]
pub struct DeviceError {
    request: DeviceRequest,
    why: String,
}

/// CUDA of this process: libtorch looks for it once, so it is opened before libtorch is asked anything.
///
/// The binary links the CPU library only; opening `libtorch_cuda` registers the GPU in the same build.
/// Not run on a GPU.
#[derive(Debug)]
pub struct CudaLibrary(Result<(), String>);

#[cfg(target_os = "windows")]
const CUDA_LIBRARY: &str = "torch_cuda.dll";
#[cfg(not(target_os = "windows"))]
const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Names the CUDA library where it lies elsewhere.
const CUDA_LIBRARY_VARIABLE: &str = "TORCH_CUDA_LIB";

impl CudaLibrary {
    /// Opens libtorch's CUDA library when `request` may need it: `$TORCH_CUDA_LIB`, or the one beside libtorch. To be
    /// called before anything else of libtorch.
    pub fn open(request: DeviceRequest) -> Self {
        match request {
            DeviceRequest::Auto | DeviceRequest::Cuda(_) => {
                let named = std::env::var(CUDA_LIBRARY_VARIABLE);
                Self(open_global(named.as_deref().unwrap_or(CUDA_LIBRARY)))
            }
            DeviceRequest::Cpu | DeviceRequest::Mps => Self(Err("not asked for".into())),
        }
    }

    /// Why `auto` is the CPU although libtorch's CUDA library is there.
    pub fn fell_back(&self, request: DeviceRequest) -> Option<&'static str> {
        let unexpected = request == DeviceRequest::Auto && self.0.is_ok() && !Cuda::is_available();
        unexpected.then_some("using the CPU: libtorch's CUDA form is here, but no CUDA device is available")
    }

    /// The device to use; an explicit one never falls back.
    pub fn resolve(&self, request: DeviceRequest) -> Result<Device, DeviceError> {
        let refuse = |why: String| Err(DeviceError { request, why });
        match request {
            DeviceRequest::Cpu => Ok(Device::Cpu),
            DeviceRequest::Auto if self.0.is_ok() && Cuda::is_available() => Ok(Device::Cuda(0)),
            DeviceRequest::Auto => Ok(Device::Cpu),
            DeviceRequest::Mps if tch::utils::has_mps() => Ok(Device::Mps),
            DeviceRequest::Mps => refuse("this libtorch has no MPS: use --device cpu".into()),
            DeviceRequest::Cuda(index) => match &self.0 {
                Err(reason) => refuse(format!(
                    "libtorch's CUDA library cannot be opened ({reason}): get the CUDA form with \
                     `cargo xtask setup --cuda`, name it in {CUDA_LIBRARY_VARIABLE}, or use --device cpu"
                )),
                Ok(_) if !tch::utils::has_cudart() => refuse(
                    "libtorch's CUDA library was opened, but libtorch does not know it: are both of one version?"
                        .into(),
                ),
                Ok(_) if !Cuda::is_available() => {
                    let version = tch::utils::version_cudart();
                    refuse(format!(
                        "no CUDA device is available to CUDA {}.{}: is there a GPU, and a driver for it? \
                         Otherwise use --device cpu",
                        version / 1000,
                        version % 1000 / 10
                    ))
                }
                Ok(_) if index as i64 >= Cuda::device_count() => {
                    refuse(format!("there are {} CUDA devices, counted from 0", Cuda::device_count()))
                }
                Ok(_) => Ok(Device::Cuda(index)),
            },
        }
    }
}

#[cfg(unix)]
fn open_global(name: &str) -> Result<(), String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: libtorch's initialisers run as they would had the library been linked; no symbol is taken from it.
    unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) }
        // libtorch calls into it from now on: it is never closed.
        .map(std::mem::forget)
        .map_err(|error| reason(&error))
}

#[cfg(not(unix))]
fn open_global(name: &str) -> Result<(), String> {
    // SAFETY: libtorch's initialisers run as they would had the library been linked; no symbol is taken from it.
    unsafe { libloading::Library::new(name) }.map(std::mem::forget).map_err(|error| reason(&error))
}

/// The dynamic linker's own words.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// For people: `cpu`, `cuda:0`.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        Device::Mps => "mps".into(),
        _ => "cpu".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_contract_names() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3", "mps"] {
            assert_eq!(text.parse::<DeviceRequest>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceRequest::Cuda(0)));
        for text in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            assert!(text.parse::<DeviceRequest>().unwrap_err().contains("use auto, cpu, cuda"));
        }
    }

    #[test]
    fn an_explicit_device_never_falls_back() {
        let none = CudaLibrary(Err("no such file".into()));
        assert_eq!(none.resolve(DeviceRequest::Auto).unwrap(), Device::Cpu);
        let error = none.resolve(DeviceRequest::Cuda(0)).unwrap_err().to_string();
        assert!(error.starts_with("--device cuda:0: ") && error.contains("xtask setup --cuda"), "{error}");
        if !tch::utils::has_mps() {
            assert!(none.resolve(DeviceRequest::Mps).unwrap_err().to_string().contains("no MPS"));
        }
    }
}
