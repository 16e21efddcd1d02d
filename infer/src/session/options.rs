//! Options of a session.

use std::path::PathBuf;

use crate::attention::AttentionKernels;
use crate::device::{CudaOptions, Device};

/// Options of a session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Device to run on.
    pub device: Device,
    /// Threads inside an operator on the CPU; when absent one per physical core, at most as many as the CPU quota and the
    /// affinity of the process allow.
    pub threads: Option<usize>,
    /// ONNX Runtime's library or its folder; searched for when absent, see [`runtime`](crate::runtime).
    pub runtime: Option<PathBuf>,
    /// Optimization of the graph before it runs.
    pub optimization: Optimization,
    /// Kernels that compute attention on the CPU.
    pub attention: AttentionKernels,
    /// Let idle threads spin while they wait for work, which saves a few percent of a pass and keeps the cores busy. On by
    /// default; turn it off where other work wants the cores.
    pub spinning: bool,
    /// Settings of the CUDA provider.
    pub cuda: CudaOptions,
    /// Let a GPU normalise images, so that bytes travel to it, a quarter of what floats take: the graph of a file that takes
    /// floats and has a card then takes bytes `[N, H, W, C]`, see [`Session::input_form`](super::Session::input_form). Off
    /// by default, and on the CPU without effect.
    pub bytes: bool,
    /// Let a GPU compute a network of 8 bits in half precision, from the weights that the file has: ONNX Runtime has no
    /// integer arithmetic there, and is slower with 8 bits than with 16. Results differ by the rounding of activations. Only
    /// files with a card, for those of other tools may depend on the rounding. Off by default, and on the CPU without
    /// effect.
    pub halves: bool,
    /// Record which provider runs each operator, for [`Session::placement`](super::Session::placement).
    pub placement: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device: Device::default(),
            threads: None,
            runtime: None,
            optimization: Optimization::default(),
            attention: AttentionKernels::default(),
            spinning: true,
            cuda: CudaOptions::default(),
            bytes: false,
            halves: false,
            placement: false,
        }
    }
}

impl Options {
    /// Sets the [device](Self::device).
    #[must_use]
    pub fn device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// Sets the number of [threads](Self::threads).
    #[must_use]
    pub fn threads(self, threads: impl Into<Option<usize>>) -> Self {
        Self { threads: threads.into(), ..self }
    }

    /// Sets the [library](Self::runtime) of ONNX Runtime, or its folder.
    #[must_use]
    pub fn runtime(self, path: impl Into<PathBuf>) -> Self {
        Self { runtime: Some(path.into()), ..self }
    }

    /// Sets the [optimization](Self::optimization) of the graph.
    #[must_use]
    pub fn optimization(self, optimization: Optimization) -> Self {
        Self { optimization, ..self }
    }

    /// Sets the [kernels](Self::attention) that compute attention.
    #[must_use]
    pub fn attention(self, attention: AttentionKernels) -> Self {
        Self { attention, ..self }
    }

    /// Turns [spinning](Self::spinning) on or off.
    #[must_use]
    pub fn spinning(self, spinning: bool) -> Self {
        Self { spinning, ..self }
    }

    /// Sets the [CUDA](Self::cuda) settings.
    #[must_use]
    pub fn cuda(self, cuda: CudaOptions) -> Self {
        Self { cuda, ..self }
    }

    /// Turns the normalisation of images on a GPU on or off, see [`bytes`](Self::bytes).
    #[must_use]
    pub fn bytes(self, bytes: bool) -> Self {
        Self { bytes, ..self }
    }

    /// Turns half precision for networks of 8 bits on a GPU on or off, see [`halves`](Self::halves).
    #[must_use]
    pub fn halves(self, halves: bool) -> Self {
        Self { halves, ..self }
    }

    /// Turns the record of the [placement](Self::placement) on or off.
    #[must_use]
    pub fn placement(self, placement: bool) -> Self {
        Self { placement, ..self }
    }
}

/// Optimization of a graph before it runs. The results differ in their last bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Optimization {
    /// Everything that makes a pass fast.
    #[default]
    Full,
    /// Everything but the rearrangement of the weights: the session is built several times sooner, and a pass on the CPU
    /// takes longer.
    Quick,
}
