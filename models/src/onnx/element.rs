//! Element types of tensors: their codes in the format, their names and their sizes.

use std::fmt;

/// Type of a tensor's elements (`TensorProto.DataType` in the
/// [specification](https://onnx.ai/onnx/repo-docs/IR.html#tensor-element-types)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it all
pub enum Element {
    Undefined,
    Float,
    Uint8,
    Int8,
    Uint16,
    Int16,
    Int32,
    Int64,
    String,
    Bool,
    Float16,
    Double,
    Uint32,
    Uint64,
    Complex64,
    Complex128,
    Bfloat16,
    Float8E4M3Fn,
    Float8E4M3Fnuz,
    Float8E5M2,
    Float8E5M2Fnuz,
    Uint4,
    Int4,
    Float4E2M1,
    Float8E8M0,
    Uint2,
    Int2,
    Float6E2M3,
    Float6E3M2,
    /// A code that this version of the format does not define.
    Unknown(i32),
}

/// Every defined type in the order of its code, from 0 on, with its usual name and its size in bits.
const TABLE: [(Element, &str, usize); 29] = [
    (Element::Undefined, "undefined", 0),
    (Element::Float, "float32", 32),
    (Element::Uint8, "uint8", 8),
    (Element::Int8, "int8", 8),
    (Element::Uint16, "uint16", 16),
    (Element::Int16, "int16", 16),
    (Element::Int32, "int32", 32),
    (Element::Int64, "int64", 64),
    (Element::String, "string", 0),
    (Element::Bool, "bool", 8),
    (Element::Float16, "float16", 16),
    (Element::Double, "float64", 64),
    (Element::Uint32, "uint32", 32),
    (Element::Uint64, "uint64", 64),
    (Element::Complex64, "complex64", 64),
    (Element::Complex128, "complex128", 128),
    (Element::Bfloat16, "bfloat16", 16),
    (Element::Float8E4M3Fn, "float8e4m3fn", 8),
    (Element::Float8E4M3Fnuz, "float8e4m3fnuz", 8),
    (Element::Float8E5M2, "float8e5m2", 8),
    (Element::Float8E5M2Fnuz, "float8e5m2fnuz", 8),
    (Element::Uint4, "uint4", 4),
    (Element::Int4, "int4", 4),
    (Element::Float4E2M1, "float4e2m1", 4),
    (Element::Float8E8M0, "float8e8m0", 8),
    (Element::Uint2, "uint2", 2),
    (Element::Int2, "int2", 2),
    (Element::Float6E2M3, "float6e2m3", 6),
    (Element::Float6E3M2, "float6e3m2", 6),
];

impl Element {
    /// The type with this code in the format.
    pub fn from_code(code: i32) -> Self {
        let row = usize::try_from(code).ok().and_then(|at| TABLE.get(at));
        row.map_or(Self::Unknown(code), |&(element, ..)| element)
    }

    /// Code of the type in the format.
    pub fn code(self) -> i32 {
        match self {
            Self::Unknown(code) => code,
            known => TABLE.iter().position(|&(element, ..)| element == known).map_or(0, |at| at as i32),
        }
    }

    /// Size of an element in bits; 0 for texts and unknown types, whose elements have no fixed size.
    pub fn bits(self) -> usize {
        self.row().map_or(0, |(_, _, bits)| bits)
    }

    /// Bytes of `count` elements, packed without padding between them.
    pub fn bytes(self, count: usize) -> usize {
        count.saturating_mul(self.bits()).div_ceil(8)
    }

    /// True for floating-point numbers of any precision.
    pub fn is_float(self) -> bool {
        self.row().is_some_and(|(_, name, _)| name.contains("float"))
    }

    fn row(self) -> Option<(Self, &'static str, usize)> {
        TABLE.into_iter().find(|&(element, ..)| element == self)
    }
}

/// The type's usual name: `float32`, `int64`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some((_, name, _)) => f.write_str(name),
            None => write!(f, "type {}", self.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::tensor_proto::DataType;

    /// The table has every type of `onnx.proto` at its place.
    #[test]
    fn the_table_is_that_of_the_format() {
        for code in 0..TABLE.len() as i32 {
            let element = Element::from_code(code);
            let name = DataType::try_from(code).unwrap().as_str_name().to_lowercase();
            let usual = match name.as_str() {
                "float" => "float32",
                "double" => "float64",
                other => other,
            };
            assert_eq!((element.code(), element.to_string().as_str()), (code, usual));
        }
        assert!(DataType::try_from(TABLE.len() as i32).is_err(), "a type that the table lacks");
    }

    #[test]
    fn sizes_and_unknown_types() {
        assert_eq!((Element::Int4.bytes(3), Element::Float6E2M3.bytes(4)), (2, 3));
        assert_eq!((Element::Complex128.bits(), Element::String.bytes(7)), (128, 0));
        for code in [-1, 99, i32::MAX] {
            let element = Element::from_code(code);
            assert_eq!((element.code(), element.bits()), (code, 0));
            assert_eq!(element.to_string(), format!("type {code}"));
        }
    }
}
