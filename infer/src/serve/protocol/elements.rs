//! Elements of an input tensor, in the forms in which clients send them.

use bytes::{Buf, Bytes};
use half::f16;
use serde_json::value::RawValue;

use super::{Datatype, InputError, json};

/// Elements of an input, not read yet.
#[derive(Debug)]
pub enum Elements<'a> {
    /// JSON list, flat or nested.
    Json {
        /// Text of the list.
        data: &'a RawValue,
        /// True if its strings are Base64.
        base64: bool,
    },
    /// Bytes in little-endian order.
    Raw(Bytes),
    /// Numbers or byte strings of a gRPC message.
    Typed(Typed),
}

/// Contents of a tensor in a gRPC message, in the field of their type.
#[derive(Debug)]
pub enum Typed {
    /// `fp32_contents`.
    Floats(Vec<f32>),
    /// `fp64_contents`.
    Doubles(Vec<f64>),
    /// `uint_contents`.
    Unsigned(Vec<u32>),
    /// `bytes_contents`.
    Bytes(Vec<Bytes>),
    /// A field that no datatype of a model has, or several.
    Other,
}

impl Elements<'_> {
    /// Reads floats of a tensor of this `datatype` and shape; those of 64 bits are rounded to 32.
    ///
    /// # Errors
    /// [`InputError`] when they are not as many as the shape says, not numbers, or too large.
    pub(super) fn floats(self, datatype: Datatype, shape: &[usize]) -> Result<Vec<f32>, InputError> {
        match (self, datatype) {
            (Self::Json { data, .. }, Datatype::Fp32) => json::list(data, shape),
            (Self::Json { data, .. }, Datatype::Fp64) => narrowed(json::list(data, shape)?),
            (Self::Json { .. }, _) => Err(place(datatype, "JSON", "binary data after the JSON")),
            (Self::Raw(bytes), Datatype::Fp16) => {
                parsed(&bytes, shape, |element| f16::from_le_bytes(element).to_f32())
            }
            (Self::Raw(bytes), Datatype::Fp64) => narrowed(parsed(&bytes, shape, f64::from_le_bytes)?),
            (Self::Raw(bytes), _) => parsed(&bytes, shape, f32::from_le_bytes),
            (Self::Typed(Typed::Floats(values)), Datatype::Fp32) => counted(values, shape),
            (Self::Typed(Typed::Doubles(values)), Datatype::Fp64) => narrowed(counted(values, shape)?),
            (Self::Typed(_), Datatype::Fp32) => Err(place(datatype, "this field", "fp32_contents")),
            (Self::Typed(_), Datatype::Fp64) => Err(place(datatype, "this field", "fp64_contents")),
            (Self::Typed(_), _) => Err(place(datatype, "contents", "raw_input_contents")),
        }
    }

    /// Reads bytes of a `UINT8` tensor.
    ///
    /// # Errors
    /// [`InputError`] when they are not as many as the shape says, or not bytes.
    pub(super) fn bytes(self, shape: &[usize]) -> Result<Vec<u8>, InputError> {
        match self {
            Self::Json { data, .. } => json::list(data, shape),
            Self::Raw(bytes) => parsed(&bytes, shape, u8::from_le_bytes),
            Self::Typed(Typed::Unsigned(values)) => {
                let byte = |value| u8::try_from(value).map_err(|_| InputError::Byte(value));
                counted(values, shape)?.into_iter().map(byte).collect()
            }
            Self::Typed(_) => Err(place(Datatype::Uint8, "this field", "uint_contents")),
        }
    }

    /// Reads `count` byte strings of a `BYTES` tensor; those that are not Base64 are slices of the request.
    ///
    /// # Errors
    /// [`InputError`] when there are not as many, or their lengths do not fit the bytes that there are.
    pub(super) fn strings(self, count: usize) -> Result<Vec<Bytes>, InputError> {
        match self {
            Self::Json { data, base64 } => json::strings(data, count, base64),
            Self::Raw(bytes) => split(bytes, count),
            Self::Typed(Typed::Bytes(values)) => counted(values, &[count]),
            Self::Typed(_) => Err(place(Datatype::Bytes, "this field", "bytes_contents")),
        }
    }
}

/// Refusal of elements in a form that their datatype does not have.
fn place(datatype: Datatype, place: &'static str, instead: &'static str) -> InputError {
    InputError::Place { datatype, place, instead }
}

/// Reads elements of `SIZE` bytes each.
fn parsed<const SIZE: usize, T>(
    bytes: &[u8],
    shape: &[usize],
    read: impl Fn([u8; SIZE]) -> T,
) -> Result<Vec<T>, InputError> {
    let expected = shape.iter().product::<usize>() * SIZE;
    if bytes.len() != expected {
        return Err(InputError::Size { given: bytes.len(), expected });
    }
    Ok(bytes.as_chunks().0.iter().map(|&element| read(element)).collect())
}

/// Checks the number of elements.
fn counted<T>(values: Vec<T>, shape: &[usize]) -> Result<Vec<T>, InputError> {
    let expected = shape.iter().product();
    match values.len() {
        given if given == expected => Ok(values),
        given => Err(InputError::Count { given, expected }),
    }
}

/// Rounds to 32 bits; an infinity stays one, and a finite value does not become one.
fn narrowed(values: Vec<f64>) -> Result<Vec<f32>, InputError> {
    let narrow = |value: f64| match value as f32 {
        narrow if narrow.is_infinite() && value.is_finite() => Err(InputError::Range(value)),
        narrow => Ok(narrow),
    };
    values.into_iter().map(narrow).collect()
}

/// Splits `count` byte strings, each after its length as four bytes in little-endian order.
fn split(mut bytes: Bytes, count: usize) -> Result<Vec<Bytes>, InputError> {
    let mut strings = Vec::new();
    for index in 0..count {
        let truncated = |_| InputError::Element { index };
        let length = bytes.try_get_u32_le().map_err(truncated)? as usize;
        if length > bytes.len() {
            return Err(InputError::Element { index });
        }
        strings.push(bytes.split_to(length));
    }
    match bytes.len() {
        0 => Ok(strings),
        more => Err(InputError::Trailing(more)),
    }
}
