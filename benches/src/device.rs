//! Devices and loads of the benchmarks.

use std::env;
use std::fmt;

use anyhow::{Context, Result, bail};
use ferronnx_train::device::{self, DeviceRequest};
use tch::Device;

/// Environment variable that names the device: `cpu` (the default), `cuda` or `cuda:N`.
pub const DEVICE_VARIABLE: &str = "BENCH_DEVICE";

/// Opens the device that [`DEVICE_VARIABLE`] names, and turns TensorFloat-32 off for all engines.
///
/// Call it first in `main`: libtorch looks for CUDA once, and CUDA's libraries read the switch when they start.
///
/// # Errors
/// When the variable names no device, or one that cannot be used: there is no fallback.
pub fn open() -> Result<Device> {
    let request = env::var(DEVICE_VARIABLE).unwrap_or_else(|_| "cpu".into());
    // SAFETY: called first in `main`, before there is a second thread.
    unsafe {
        ferronnx_infer::runtime::disable_telemetry();
        env::set_var("NVIDIA_TF32_OVERRIDE", "0");
    }
    let device = request
        .parse::<DeviceRequest>()
        .map_err(Into::into)
        .and_then(|request| device::find(request).map_err(anyhow::Error::from));
    let device = device.with_context(|| format!("{DEVICE_VARIABLE}={request}"))?;
    match device {
        Device::Cpu => {}
        Device::Cuda(index) => {
            // ONNX Runtime searches for the fastest algorithms by default.
            tch::Cuda::cudnn_set_benchmark(true);
            eprintln!(
                "device cuda:{index}, full 32-bit floats: NVIDIA_TF32_OVERRIDE=0, tensors are on the device"
            );
        }
        _ => bail!("{DEVICE_VARIABLE}={request}: the benchmarks run on cpu and cuda"),
    }
    Ok(device)
}

/// Batch size and device, with its threads, that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Images per pass.
    pub batch: usize,
    /// Device of all tensors.
    pub device: Device,
    /// Threads of the CPU that compute; one on CUDA, where it launches kernels.
    pub threads: usize,
}

impl Load {
    /// Loads that are measured on a device.
    pub fn all(device: Device) -> Vec<Self> {
        let load = |batch, threads| Self { batch, device, threads };
        match device {
            Device::Cuda(_) => [1, 16, 256].map(|batch| load(batch, 1)).into(),
            _ => vec![load(1, 1), load(1, 2), load(16, 1), load(16, 2)],
        }
    }
}

/// Name in reports: `batch16/threads2` or `batch16/cuda`.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device {
            Device::Cuda(_) => write!(f, "batch{}/cuda", self.batch),
            _ => write!(f, "batch{}/threads{}", self.batch, self.threads),
        }
    }
}

/// Waits until a CUDA device has done its work; other devices have when a call returns.
pub fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_have_names_of_their_own() {
        let names: Vec<String> = [Device::Cpu, Device::Cuda(0)]
            .into_iter()
            .flat_map(Load::all)
            .map(|load| load.to_string())
            .collect();
        assert_eq!(names[..2], ["batch1/threads1", "batch1/threads2"]);
        assert_eq!(names[4..], ["batch1/cuda", "batch16/cuda", "batch256/cuda"]);
    }
}
