//! Datatypes of tensors.

use std::fmt;

use ferronnx_models::onnx::Element;
use serde::Serialize;

/// Datatype of a tensor that is taken or given here, by the protocol's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Datatype {
    /// Byte strings of any length, each after its length as four bytes.
    Bytes,
    /// Unsigned bytes.
    Uint8,
    /// Floats of 16 bits.
    Fp16,
    /// Floats of 32 bits.
    Fp32,
    /// Floats of 64 bits.
    Fp64,
}

impl Datatype {
    /// Datatype of a model's element type; none for those that no [session](crate::Session) takes or gives.
    pub fn of(element: Element) -> Option<Self> {
        match element {
            Element::Uint8 => Some(Self::Uint8),
            Element::Float16 => Some(Self::Fp16),
            Element::Float => Some(Self::Fp32),
            Element::Double => Some(Self::Fp64),
            _ => None,
        }
    }

    /// Name of the datatype in the protocol, `FP32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "BYTES",
            Self::Uint8 => "UINT8",
            Self::Fp16 => "FP16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
