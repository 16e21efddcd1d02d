//! Devices that training runs on, and libtorch's CUDA library.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::{Cuda, Device};

use crate::error::TorchError;
use crate::native;

/// A device as it is asked for: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceRequest {
    /// The first CUDA device if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this number; never another one.
    Cuda(usize),
    /// Apple's GPU; never another device.
    Mps,
}

/// A name that is not a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a device: use auto, cpu, cuda, cuda:N or mps")]
pub struct ParseDeviceError(String);

impl FromStr for DeviceRequest {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, ParseDeviceError> {
        use ferronnx_infer::Device as Infer;
        match text.parse() {
            _ if text == "mps" => Ok(Self::Mps),
            Ok(Infer::Auto) => Ok(Self::Auto),
            Ok(Infer::Cpu) => Ok(Self::Cpu),
            Ok(Infer::Cuda(index)) => Ok(Self::Cuda(index)),
            Err(_) => Err(ParseDeviceError(text.into())),
        }
    }
}

impl TryFrom<String> for DeviceRequest {
    type Error = ParseDeviceError;

    fn try_from(text: String) -> Result<Self, ParseDeviceError> {
        text.parse()
    }
}

impl From<DeviceRequest> for String {
    fn from(request: DeviceRequest) -> Self {
        request.to_string()
    }
}

impl From<Device> for DeviceRequest {
    fn from(device: Device) -> Self {
        match device {
            Device::Cuda(index) => Self::Cuda(index),
            Device::Mps => Self::Mps,
            _ => Self::Cpu,
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

/// Reasons for which a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// libtorch was built without MPS.
    #[error("this libtorch has no MPS")]
    NoMps,
    /// libtorch's CUDA library cannot be opened.
    #[error(
        "libtorch's CUDA library cannot be opened ({0}): get the CUDA form (in a checkout `cargo xtask setup \
         --cuda`, else the archive whose name ends in -cuda), or name it in {CUDA_LIBRARY_VARIABLE}"
    )]
    NoLibrary(String),
    /// The CUDA library does not belong to this libtorch.
    #[error("libtorch's CUDA library was opened, but libtorch does not know it: are both of one version?")]
    OtherLibrary,
    /// CUDA finds no device.
    #[error("no CUDA device is available to CUDA {major}.{minor}: there is no GPU, or no driver for it")]
    NoCudaDevice {
        /// Major version of CUDA.
        major: i64,
        /// Minor version of CUDA.
        minor: i64,
    },
    /// A machine has more ranks than CUDA devices.
    #[error(
        "this machine has more ranks than GPUs: rank {local_rank} of the machine trains on GPU {local_rank}, and there \
         are {count}, counted from 0; start one rank a GPU"
    )]
    Ranks {
        /// Number of the rank among those of its machine, from 0.
        local_rank: usize,
        /// Number of CUDA devices.
        count: i64,
    },
    /// There is no CUDA device of this number.
    #[error("there is no CUDA device {index}: there are {count}, counted from 0")]
    Index {
        /// The number asked for.
        index: usize,
        /// Number of CUDA devices.
        count: i64,
    },
}

/// libtorch's CUDA library, opened at run time.
///
/// Programs link the CPU library only; opening `libtorch_cuda` registers the GPU in the same build. libtorch looks for
/// CUDA once, so the library is opened before libtorch is asked anything.
#[derive(Debug)]
pub struct CudaLibrary(Result<(), String>);

#[cfg(target_os = "windows")]
const CUDA_LIBRARY: &str = "torch_cuda.dll";
#[cfg(not(target_os = "windows"))]
const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Environment variable with the path of the CUDA library, if it is not beside libtorch.
const CUDA_LIBRARY_VARIABLE: &str = "TORCH_CUDA_LIB";

impl CudaLibrary {
    /// Opens libtorch's CUDA library when `request` may need it: `$TORCH_CUDA_LIB`, or the one beside libtorch.
    ///
    /// Call it before anything else of libtorch.
    pub fn open(request: DeviceRequest) -> Self {
        match request {
            DeviceRequest::Auto | DeviceRequest::Cuda(_) => {
                let named = std::env::var(CUDA_LIBRARY_VARIABLE);
                Self(open_global(named.as_deref().unwrap_or(CUDA_LIBRARY)))
            }
            DeviceRequest::Cpu | DeviceRequest::Mps => Self(Err("not asked for".into())),
        }
    }

    /// Warning when `auto` falls back to the CPU although libtorch's CUDA library is there.
    pub fn fell_back(&self, request: DeviceRequest) -> Option<&'static str> {
        let unexpected = request == DeviceRequest::Auto && self.0.is_ok() && !Cuda::is_available();
        unexpected.then_some("using the CPU: libtorch's CUDA form is here, but no CUDA device is available")
    }

    /// Resolves `auto` to a device and checks an explicit one.
    ///
    /// # Errors
    /// [`DeviceError`] when an explicit device cannot be used: it is never replaced by another.
    pub fn resolve(&self, request: DeviceRequest) -> Result<Device, DeviceError> {
        match request {
            DeviceRequest::Cpu => Ok(Device::Cpu),
            DeviceRequest::Auto if self.0.is_ok() && Cuda::is_available() => Ok(Device::Cuda(0)),
            DeviceRequest::Auto => Ok(Device::Cpu),
            DeviceRequest::Mps if tch::utils::has_mps() => Ok(Device::Mps),
            DeviceRequest::Mps => Err(DeviceError::NoMps),
            DeviceRequest::Cuda(index) => self.cuda(index),
        }
    }

    /// Resolves the device of a rank by its number among the ranks of its machine: `auto` and `cuda` are the CUDA device of
    /// that number, or the only one that the launcher lets this process use.
    ///
    /// # Errors
    /// [`DeviceError::Ranks`] when there are fewer devices than ranks; those of [`resolve`](Self::resolve).
    pub fn resolve_rank(&self, request: DeviceRequest, local_rank: usize) -> Result<Device, DeviceError> {
        match (request, self.resolve(request)?) {
            (DeviceRequest::Auto | DeviceRequest::Cuda(0), Device::Cuda(_)) => {
                gpu_of_rank(local_rank, Cuda::device_count()).map(Device::Cuda)
            }
            (_, device) => Ok(device),
        }
    }

    fn cuda(&self, index: usize) -> Result<Device, DeviceError> {
        self.0.clone().map_err(DeviceError::NoLibrary)?;
        if !tch::utils::has_cudart() {
            return Err(DeviceError::OtherLibrary);
        }
        if !Cuda::is_available() {
            let version = tch::utils::version_cudart();
            return Err(DeviceError::NoCudaDevice { major: version / 1000, minor: version % 1000 / 10 });
        }
        match Cuda::device_count() {
            count if index as i64 >= count => Err(DeviceError::Index { index, count }),
            _ => Ok(Device::Cuda(index)),
        }
    }
}

/// Number of the GPU of a rank, of `count` that its process may use.
fn gpu_of_rank(local_rank: usize, count: i64) -> Result<usize, DeviceError> {
    match count {
        1 => Ok(0),
        _ if (local_rank as i64) < count => Ok(local_rank),
        _ => Err(DeviceError::Ranks { local_rank, count }),
    }
}

/// Version of the libtorch that is loaded, such as `2.13.0`; `unknown` if it does not tell.
pub fn libtorch_version() -> String {
    native::version()
}

/// Opens libtorch's CUDA library if `request` may need it, and resolves the request.
///
/// # Errors
/// [`DeviceError`] when an explicit device cannot be used.
pub fn find(request: DeviceRequest) -> Result<Device, DeviceError> {
    CudaLibrary::open(request).resolve(request)
}

/// Gives cuBLAS the workspaces with which it computes the same bits every time, unless the environment names others. They
/// take no more memory than its own.
///
/// # Safety
/// As [`std::env::set_var`]: no other thread may run yet.
pub unsafe fn fix_workspaces() {
    const VARIABLE: &str = "CUBLAS_WORKSPACE_CONFIG";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the caller's.
        unsafe { std::env::set_var(VARIABLE, ":4096:8") };
    }
}

/// Chooses how libtorch computes on a GPU, for the rest of the process: the same bits every time, or as fast as cuDNN's
/// search for algorithms makes it. Other devices are left as they are. libtorch's own warnings are not written.
///
/// # Errors
/// [`TorchError`] when libtorch fails.
pub fn prepare(device: Device, deterministic: bool) -> Result<(), TorchError> {
    native::quiet();
    if let Device::Cuda(index) = device {
        native::set_gpu(index)?;
    }
    match device {
        Device::Cuda(_) if deterministic => native::deterministic()?,
        // Batches have one shape, so the search happens once.
        Device::Cuda(_) => Cuda::cudnn_set_benchmark(true),
        _ => {}
    }
    Ok(())
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

/// Message of the dynamic linker.
pub(crate) fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
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
            let error = text.parse::<DeviceRequest>().unwrap_err().to_string();
            assert!(error.contains("use auto, cpu, cuda"), "{error}");
        }
    }

    #[test]
    fn libtorch_tells_its_version() {
        assert!(libtorch_version().starts_with("2."), "{}", libtorch_version());
    }

    #[test]
    fn ranks_take_the_gpus_of_their_machine() {
        assert_eq!([0, 1, 3].map(|rank| gpu_of_rank(rank, 4)), [Ok(0), Ok(1), Ok(3)]);
        // SLURM's --gpus-per-task shows each process its own one.
        assert_eq!(gpu_of_rank(3, 1), Ok(0));
        let error = gpu_of_rank(2, 2).unwrap_err().to_string();
        assert!(error.contains("more ranks than GPUs: rank 2 of the machine"), "{error}");
        let none = CudaLibrary(Err("no such file".into()));
        assert_eq!(none.resolve_rank(DeviceRequest::Auto, 1), Ok(Device::Cpu));
        assert!(none.resolve_rank(DeviceRequest::Cuda(0), 1).is_err());
    }

    #[test]
    fn an_explicit_device_never_falls_back() {
        let none = CudaLibrary(Err("no such file".into()));
        assert_eq!(none.resolve(DeviceRequest::Auto).unwrap(), Device::Cpu);
        let error = none.resolve(DeviceRequest::Cuda(0)).unwrap_err().to_string();
        assert!(error.contains("(no such file)") && error.contains("xtask setup --cuda"), "{error}");
        if !tch::utils::has_mps() {
            assert!(none.resolve(DeviceRequest::Mps).unwrap_err().to_string().contains("no MPS"));
        }
    }
}
