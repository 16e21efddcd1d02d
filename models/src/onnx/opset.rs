//! Versions of the standard operators.

/// A version of the standard operators that this crate writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opset(u32);

/// An opset that this crate does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("opset {0} is not supported: choose {min} to {max}", min = Opset::MIN, max = Opset::MAX)]
pub struct UnsupportedOpset(pub u32);

impl Opset {
    /// The oldest opset written.
    pub const MIN: u32 = 17;
    /// The newest opset written.
    pub const MAX: u32 = 23;

    /// Checks that the opset `version` is supported.
    ///
    /// # Errors
    /// [`UnsupportedOpset`] outside [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    pub fn new(version: u32) -> Result<Self, UnsupportedOpset> {
        if (Self::MIN..=Self::MAX).contains(&version) {
            Ok(Self(version))
        } else {
            Err(UnsupportedOpset(version))
        }
    }

    /// Number of the opset.
    pub fn version(self) -> u32 {
        self.0
    }

    /// The IR version that came with the opset, so that no runtime that knows the operators refuses the file
    /// (<https://onnx.ai/onnx/repo-docs/Versioning.html>).
    pub fn ir_version(self) -> i64 {
        match self.0 {
            ..=18 => 8,
            19..=20 => 9,
            21..=22 => 10,
            _ => 11,
        }
    }
}

impl Default for Opset {
    /// 17: every operator here is as old as that, and ONNX Runtime's CUDA provider runs its `ReduceMax`
    /// (newer forms may fall back to the CPU: microsoft/onnxruntime#26065).
    fn default() -> Self {
        Self(17)
    }
}
