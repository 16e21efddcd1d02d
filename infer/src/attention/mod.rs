//! CBAM as one operator of our own, on the CPU.
//!
//! A file spells CBAM out in twenty standard operators; ONNX Runtime runs each by itself, over memory for each. When a
//! session is built for the CPU, [`fuse`](mod@ferronnx_models::onnx::fuse) puts one operator in their place, which `operator` makes
//! known to ONNX Runtime and [`kernel`] computes in three passes, on the tensors and threads that
//! `tensors` and `parallel` borrow from ONNX Runtime. The file stays as it is.

pub mod kernel;
pub(crate) mod operator;
mod parallel;
mod tensors;

use std::fmt;
use std::str::FromStr;

/// How CBAM is computed on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attention {
    /// By one operator, wherever the file has exactly that.
    #[default]
    Fused,
    /// By the operators of the file.
    Stock,
}

/// Not the name of a way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to compute attention: use fused or stock")]
pub struct ParseAttentionError(String);

impl FromStr for Attention {
    type Err = ParseAttentionError;

    fn from_str(text: &str) -> Result<Self, ParseAttentionError> {
        match text {
            "fused" => Ok(Self::Fused),
            "stock" => Ok(Self::Stock),
            _ => Err(ParseAttentionError(text.into())),
        }
    }
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fused => "fused",
            Self::Stock => "stock",
        })
    }
}
