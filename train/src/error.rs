//! Errors that several modules share: of libtorch, and of settings out of range.

use std::fmt::Display;

pub use ferronnx_infer::error::chain;
use tch::TchError;

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} must be {expected}, not {found}")]
pub struct SettingError {
    setting: String,
    expected: String,
    found: String,
}

impl SettingError {
    pub(crate) fn new(setting: impl Display, expected: impl Display, found: impl Display) -> Self {
        Self { setting: setting.to_string(), expected: expected.to_string(), found: found.to_string() }
    }

    /// Checks that `value` is above 0 and finite.
    pub(crate) fn positive(value: f64, setting: &str) -> Result<(), Self> {
        match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Self::new(setting, "positive", value)),
        }
    }

    /// Checks that `value` is in [0, 1).
    pub(crate) fn fraction(value: f64, setting: &str) -> Result<(), Self> {
        match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(Self::new(setting, "at least 0 and below 1", value)),
        }
    }
}

/// An error of libtorch, without the C++ backtrace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TorchError {
    /// The memory of a device, or of the machine, is full.
    #[error("there is no memory left {0}")]
    OutOfMemory(String),
    /// libtorch's CUDA library has no code for this GPU.
    #[error("this libtorch was built for other GPUs: get one with code for yours")]
    OtherGpu,
    /// Any other message.
    #[error("{0}")]
    Other(String),
}

impl TorchError {
    /// Recognises a C++ exception by its message, or keeps the first words of that.
    pub(crate) fn new(message: &str) -> Self {
        let first = first_words(message);
        if let Some(words) = out_of_memory(first) {
            Self::OutOfMemory(words)
        } else if first.contains("no kernel image is available") {
            Self::OtherGpu
        } else {
            Self::Other(first.into())
        }
    }
}

/// Says what an allocator could not give: `on the GPU: 2.00 GiB were asked for, and 1.12 GiB of 79.18 GiB are free`.
fn out_of_memory(message: &str) -> Option<String> {
    let between = |from: &str, to: &str| {
        let rest = message.split_once(from)?.1;
        Some(rest.split_once(to)?.0.trim().to_owned())
    };
    if message.contains("CUDA out of memory") || message.contains("CUDA error: out of memory") {
        let asked = between("Tried to allocate ", ". ").map(|asked| format!(": {asked} were asked for"));
        let free = between("total capacity of ", " of which").zip(between(" of which ", " is free"));
        let free = free.map(|(all, free)| format!(", and {free} of {all} are free"));
        return Some(format!("on the GPU{}{}", asked.unwrap_or_default(), free.unwrap_or_default()));
    }
    let bytes = between("DefaultCPUAllocator: can't allocate memory: you tried to allocate ", " bytes")?;
    Some(format!("on this machine: {bytes} bytes were asked for"))
}

impl From<TchError> for TorchError {
    fn from(error: TchError) -> Self {
        Self::new(&error.to_string())
    }
}

/// Cuts a libtorch message before the C++ stack that follows it.
pub fn first_words(message: &str) -> &str {
    let end = ["\nException raised from", "\nDebug info", "\n\nAt:", " (most recent call first)"]
        .iter()
        .filter_map(|mark| message.find(mark))
        .min()
        .unwrap_or(message.len());
    message[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn full_memory_in_a_few_words() {
        let cases = [
            (
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.18 GiB of which \
                 1.12 GiB is free. Including non-PyTorch memory, this process has 78.05 GiB memory in use. Of the \
                 allocated memory 70.00 GiB is allocated by PyTorch, and 7.00 GiB is reserved by PyTorch but \
                 unallocated. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF=... ",
                "there is no memory left on the GPU: 2.00 GiB were asked for, and 1.12 GiB of 79.18 GiB are free",
            ),
            ("CUDA error: out of memory\nCUDA kernel errors", "there is no memory left on the GPU"),
            (
                "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried \
                 to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)",
                "there is no memory left on this machine: 4000000000000 bytes were asked for",
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(TorchError::new(message).to_string(), expected);
        }
        let huge = Tensor::f_zeros([1 << 44], (Kind::Float, Device::Cpu)).unwrap_err();
        assert!(matches!(TorchError::from(huge), TorchError::OutOfMemory(_)));
        assert_eq!(TorchError::new("CUDA error: no kernel image is available for ..."), TorchError::OtherGpu);
    }

    #[test]
    fn no_stack_reaches_a_user() {
        let x = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let error = x.f_matmul(&x).unwrap_err();
        assert!(error.to_string().contains("Exception raised from"), "libtorch says where: {error}");
        let message = TorchError::from(error).to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains("2x3"), "{message}");
    }
}
