//! Arrays of NumPy inside a pickle.

use std::borrow::Cow;

use safetensors::Dtype;

use super::calls;
use super::objects::{Object, Objects, Opaque, Value};
use super::tensor::Layout;

/// Array of NumPy inside a pickle.
#[derive(Debug)]
pub struct NumpyArray<'a> {
    /// Type of its values.
    pub dtype: Dtype,
    /// True if the bytes of a value are in big-endian order.
    pub big_endian: bool,
    /// Position of the values in the bytes.
    pub layout: Layout,
    /// Values.
    pub data: Data<'a>,
}

/// Bytes of an array, as a pickle writes them.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// The bytes themselves.
    Bytes(&'a [u8]),
    /// Text whose characters are the bytes: pickles before protocol 3 have no bytes.
    Latin1(&'a str),
}

impl<'a> Data<'a> {
    /// Length of the source in bytes, which is at least that of the values.
    pub fn len(self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Latin1(text) => text.len(),
        }
    }

    /// Returns the bytes; none if a character is no byte.
    pub fn bytes(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Bytes(bytes) => Some(bytes.into()),
            Self::Latin1(text) => text.chars().map(|sign| u8::try_from(sign).ok()).collect(),
        }
    }
}

/// Reads an array of NumPy; none if the instance is something else.
pub fn array<'a>(objects: &Objects<'a>, instance: &Opaque<'a>) -> Option<NumpyArray<'a>> {
    let class = instance.class.filter(|class| class.module.starts_with("numpy"))?;
    let (shape, dtype, fortran, data) = match class.name {
        "_reconstruct" => match *objects.sequence(instance.state)? {
            [_, shape, dtype, fortran, data] => (shape, dtype, fortran == Value::Int(1), data),
            _ => return None,
        },
        "_frombuffer" => match *objects.sequence(instance.arguments)? {
            [data, dtype, shape, order] => (shape, dtype, order == Value::Text("F"), data),
            _ => return None,
        },
        _ => return None,
    };
    let (dtype, big_endian) = element(objects, dtype)?;
    let mut layout = Layout::contiguous(&calls::sizes(objects, shape)?);
    if fortran {
        let reversed: Vec<usize> = layout.shape.iter().rev().copied().collect();
        layout.strides = Layout::contiguous(&reversed).strides.into_iter().rev().collect();
    }
    Some(NumpyArray { dtype, big_endian, layout, data: self::data(objects, data)? })
}

/// Reads `numpy.dtype('f4', ...)` and its byte order.
fn element<'a>(objects: &Objects<'a>, value: Value<'a>) -> Option<(Dtype, bool)> {
    let Object::Opaque(instance) = objects.get(value)? else { return None };
    let Value::Text(name) = *objects.sequence(instance.arguments)?.first()? else { return None };
    let dtype = match name.trim_start_matches(['<', '>', '|', '=']) {
        "f4" => Dtype::F32,
        "f2" => Dtype::F16,
        "f8" => Dtype::F64,
        "i8" => Dtype::I64,
        "i4" => Dtype::I32,
        "i2" => Dtype::I16,
        "i1" => Dtype::I8,
        "u1" => Dtype::U8,
        "b1" => Dtype::BOOL,
        _ => return None,
    };
    let order = objects.sequence(instance.state).and_then(|state| state.get(1).copied());
    Some((dtype, order == Some(Value::Text(">")) || name.starts_with('>')))
}

fn data<'a>(objects: &Objects<'a>, value: Value<'a>) -> Option<Data<'a>> {
    match value {
        Value::Bytes(bytes) => Some(Data::Bytes(bytes)),
        Value::Text(text) => Some(Data::Bytes(text.as_bytes())), // a Python 2 string that happens to be UTF-8
        Value::Object(_) => {
            let Object::Opaque(call) = objects.get(value)? else { return None };
            let encode = call.class.is_some_and(|class| (class.module, class.name) == ("_codecs", "encode"));
            match objects.sequence(call.arguments)? {
                &[Value::Text(text), Value::Text("latin1" | "latin-1")] if encode => Some(Data::Latin1(text)),
                _ => None,
            }
        }
        _ => None,
    }
}
