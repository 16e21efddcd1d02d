//! Attention as one fused operator on the CPU.
//!
//! A file spells CBAM out in twenty standard operators, squeeze-and-excitation and ECA in five to seven. ONNX Runtime runs
//! each by itself and allocates memory between them. When a session is built for the CPU,
//! [`ferronnx_models::onnx::fuse`](mod@ferronnx_models::onnx::fuse) replaces them by one operator in memory; the file stays as
//! it is. `operator` registers it with ONNX Runtime, [`kernel`] computes it in two or three passes, and `tensors` and
//! `parallel` borrow ONNX Runtime's tensors and threads.

pub mod kernel;
pub(crate) mod operator;
mod parallel;
mod tensors;

use std::fmt;
use std::str::FromStr;

use ferronnx_models::onnx::fuse::Kind;

/// Kernels that compute attention on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttentionKernels {
    /// One operator of our own for CBAM and its parts; squeeze-and-excitation and ECA, which it does not make faster, as the
    /// file has them.
    #[default]
    Auto,
    /// One operator of our own, wherever the file computes exactly CBAM or one of its parts, squeeze-and-excitation or
    /// ECA.
    Fused,
    /// ONNX Runtime's operators, as the file has them.
    Stock,
}

impl AttentionKernels {
    /// Kinds of attention that one operator computes; none if attention is not looked for.
    pub(crate) fn kinds(self) -> Option<&'static [Kind]> {
        match self {
            Self::Auto => Some(&[Kind::Channel, Kind::Spatial, Kind::Cbam]),
            Self::Fused => Some(&Kind::ALL),
            Self::Stock => None,
        }
    }
}

/// Text that names no attention kernels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to compute attention: use auto, fused or stock")]
pub struct ParseAttentionKernelsError(String);

/// Parses `auto`, `fused` or `stock`.
impl FromStr for AttentionKernels {
    type Err = ParseAttentionKernelsError;

    fn from_str(text: &str) -> Result<Self, ParseAttentionKernelsError> {
        match text {
            "auto" => Ok(Self::Auto),
            "fused" => Ok(Self::Fused),
            "stock" => Ok(Self::Stock),
            _ => Err(ParseAttentionKernelsError(text.into())),
        }
    }
}

impl fmt::Display for AttentionKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Fused => "fused",
            Self::Stock => "stock",
        })
    }
}
