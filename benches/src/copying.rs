//! Time to copy floats: in memory or on a device a lower bound for every layer that reads and writes them.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use tch::{Device, Kind, TchError, Tensor};

use crate::device::synchronize;

/// Measures how long `threads` threads take to copy `values` floats `times` times.
///
/// Each thread copies its own part, which stays in the cache of its core if it fits. The slowest thread counts.
pub fn time(values: usize, threads: usize, times: u64) -> Duration {
    let part = values.div_ceil(threads);
    thread::scope(|scope| {
        let copying: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || {
                    let (from, mut to) = (vec![1.0_f32; part], vec![0.0_f32; part]);
                    let start = Instant::now();
                    for _ in 0..times {
                        to.copy_from_slice(black_box(&from));
                        black_box(&mut to);
                    }
                    start.elapsed()
                })
            })
            .collect();
        copying.into_iter().map(|thread| thread.join().unwrap_or_default()).max().unwrap_or_default()
    })
}

/// Copy on or to a CUDA device, of float tensors that are allocated beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CudaCopy {
    /// From one tensor on the device to another.
    Device,
    /// From ordinary memory to the device.
    ToDevice,
    /// From the device to ordinary memory.
    ToHost,
}

impl CudaCopy {
    /// All copies.
    pub const ALL: [Self; 3] = [Self::Device, Self::ToDevice, Self::ToHost];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::ToDevice => "to-device",
            Self::ToHost => "to-host",
        }
    }

    /// Measures how long it takes to copy `values` floats `times` times, waiting for the device each time.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn time(self, values: usize, device: Device, times: u64) -> Result<Duration, TchError> {
        let (from, to) = match self {
            Self::Device => (device, device),
            Self::ToDevice => (Device::Cpu, device),
            Self::ToHost => (device, Device::Cpu),
        };
        let tensor = |device| Tensor::f_ones([values as i64], (Kind::Float, device));
        let (from, mut to) = (tensor(from)?, tensor(to)?);
        to.f_copy_(&from)?;
        synchronize(device);
        let start = Instant::now();
        for _ in 0..times {
            to.f_copy_(&from)?;
            synchronize(device);
        }
        Ok(start.elapsed())
    }
}
