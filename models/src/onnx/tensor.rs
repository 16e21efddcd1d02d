//! Tensors of a file: element type, dimensions and values.

use std::borrow::Cow;

use half::f16;
use ndarray::{ArrayD, arr0};
use prost::bytes::Bytes;

use super::element::Element;
use super::proto::TensorProto;
use super::proto::tensor_proto::DataLocation;
use super::text::Metadata;

/// A tensor with its values, which are a slice of the file's bytes where it was read from one.
///
/// The name of an initializer is its key in [`Graph::initializers`](super::Graph::initializers).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tensor(pub(super) TensorProto);

/// A reason why the values of a tensor cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The values are in another file.
    #[error("its values lie in another file")]
    External,
    /// The elements are of another type than the one asked for.
    #[error("its elements are {found}, not {expected}")]
    Type {
        /// Type that was asked for.
        expected: Element,
        /// Type of the tensor.
        found: Element,
    },
    /// The type has no fixed size, or is not defined.
    #[error("its elements are {0}, which has no fixed size")]
    Unsized(Element),
    /// The dimensions are negative, or do not go with the number of values.
    #[error("{bytes} bytes are not the values of a tensor {dims:?}")]
    Shape {
        /// Dimensions of the tensor.
        dims: Vec<i64>,
        /// Bytes of its values.
        bytes: usize,
    },
}

/// A place in another file where the values of a tensor are
/// ([external data](https://onnx.ai/onnx/repo-docs/ExternalData.html)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External<'a> {
    /// Path of the file, relative to the model's.
    pub location: &'a str,
    /// First byte; 0 where it is absent.
    pub offset: Option<&'a str>,
    /// Number of bytes; up to the end of the file where it is absent.
    pub length: Option<&'a str>,
}

/// A Rust type that tensors can be made of.
pub trait Number: Copy {
    /// Type of the elements.
    const ELEMENT: Element;
    /// The bytes of `values`, little-endian.
    fn to_raw(values: &[Self]) -> Vec<u8>;
    /// The values in `raw`, whose length is a multiple of their size.
    fn from_raw(raw: &[u8]) -> Vec<Self>;
}

macro_rules! numbers {
    ($($number:ty: $element:ident,)*) => {$(
        impl Number for $number {
            const ELEMENT: Element = Element::$element;

            fn to_raw(values: &[Self]) -> Vec<u8> {
                let mut raw = vec![0; size_of_val(values)];
                let places = raw.as_chunks_mut().0.iter_mut();
                places.zip(values).for_each(|(place, value)| *place = value.to_le_bytes());
                raw
            }

            fn from_raw(raw: &[u8]) -> Vec<Self> {
                raw.as_chunks().0.iter().map(|&bytes| Self::from_le_bytes(bytes)).collect()
            }
        }
    )*};
}

numbers! {
    f16: Float16,
    f32: Float,
    f64: Double,
    i8: Int8,
    u8: Uint8,
    i32: Int32,
    i64: Int64,
}

impl Tensor {
    /// A tensor of `values` in row-major order, little-endian (`raw_data` of the format).
    pub fn from_raw(element: Element, dims: impl Into<Vec<i64>>, values: impl Into<Bytes>) -> Self {
        let (dims, raw_data) = (dims.into(), Some(values.into()));
        Self(TensorProto { data_type: Some(element.code()), dims, raw_data, ..TensorProto::default() })
    }

    /// A single number, of rank 0.
    pub fn scalar<T: Number>(value: T) -> Self {
        Self::from(&arr0(value).into_dyn())
    }

    /// Type of the elements.
    pub fn element(&self) -> Element {
        Element::from_code(self.0.data_type())
    }

    /// Dimensions as the file has them.
    pub fn dims(&self) -> &[i64] {
        &self.0.dims
    }

    /// Number of elements that the dimensions make; negative ones count as 0.
    pub fn len(&self) -> usize {
        let size = |&size: &i64| usize::try_from(size).unwrap_or(0);
        self.0.dims.iter().map(size).fold(1, usize::saturating_mul)
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Description for people.
    pub fn doc_string(&self) -> &str {
        self.0.doc_string()
    }

    /// The place of the values, if they are in another file. Nothing is known of it where its entries are incomplete.
    pub fn external(&self) -> Option<Option<External<'_>>> {
        (self.0.data_location() == DataLocation::External).then(|| {
            let entry = |key: &str| {
                let mut entries = self.0.external_data.iter().rev();
                entries.find(|entry| entry.key() == key).map(|entry| entry.value())
            };
            let location = entry("location")?;
            Some(External { location, offset: entry("offset"), length: entry("length") })
        })
    }

    /// Puts values into an external tensor.
    pub(super) fn internalize(&mut self, values: Bytes) {
        self.0.raw_data = Some(values);
        (self.0.external_data, self.0.data_location) = (Vec::new(), None);
    }

    /// Leaves the values to the file `location`, from `offset` on; `length` bytes.
    pub(super) fn externalize(&mut self, location: &str, offset: usize, length: usize) {
        let (offset, length) = (offset.to_string(), length.to_string());
        let entries = [("location", location), ("offset", &offset), ("length", &length)];
        self.0.raw_data = None;
        self.0.external_data = Metadata::from_iter(entries).0;
        self.0.set_data_location(DataLocation::External);
    }

    /// The slice of the file that the values are, where they are one.
    pub(super) fn raw(&self) -> Option<&Bytes> {
        self.0.raw_data.as_ref()
    }

    /// The values in row-major order, little-endian, whichever field of the format holds them. Borrowed where it is
    /// `raw_data`.
    ///
    /// # Errors
    /// [`TensorError::External`], and [`TensorError::Unsized`] where the elements are texts or of an unknown type.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, TensorError> {
        if self.0.data_location() == DataLocation::External {
            return Err(TensorError::External);
        }
        if let Some(raw) = &self.0.raw_data {
            return Ok(Cow::Borrowed(raw));
        }
        let element = self.element();
        // Smaller types have a field of wider integers; the smallest are packed into bytes first.
        let width = match element.bits() {
            0 => return Err(TensorError::Unsized(element)),
            bits => bits.div_ceil(8),
        };
        let floats = self.0.float_data.iter().flat_map(|value| value.to_le_bytes());
        let doubles = self.0.double_data.iter().flat_map(|value| value.to_le_bytes());
        let longs = self.0.int64_data.iter().flat_map(|value| value.to_le_bytes());
        let ints = self.0.int32_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width));
        let unsigned =
            self.0.uint64_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width));
        Ok(floats.chain(doubles).chain(longs).chain(ints).chain(unsigned).collect())
    }

    /// Dimensions as sizes.
    ///
    /// # Errors
    /// [`TensorError::Shape`] where one is negative.
    pub fn shape(&self) -> Result<Vec<usize>, TensorError> {
        let sizes = self.0.dims.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>();
        sizes.ok_or_else(|| TensorError::Shape { dims: self.0.dims.clone(), bytes: 0 })
    }

    /// The values in row-major order.
    ///
    /// # Errors
    /// [`TensorError`] where they are of another type, not in this file, or not as many as the dimensions say.
    pub fn to_vec<T: Number>(&self) -> Result<Vec<T>, TensorError> {
        if self.element() != T::ELEMENT {
            return Err(TensorError::Type { expected: T::ELEMENT, found: self.element() });
        }
        let bytes = self.bytes()?;
        let count = self.shape()?.iter().try_fold(1, |count: usize, &size| count.checked_mul(size));
        match count.and_then(|count| count.checked_mul(size_of::<T>())) {
            Some(expected) if expected == bytes.len() => Ok(T::from_raw(&bytes)),
            _ => Err(TensorError::Shape { dims: self.0.dims.clone(), bytes: bytes.len() }),
        }
    }

    /// The values of a tensor of texts in row-major order; none where it is of another type, or they are not UTF-8.
    pub fn strings(&self) -> Option<Vec<String>> {
        let texts = self.0.string_data.iter().filter(|_| self.element() == Element::String);
        let texts: Vec<_> = texts.map(|text| String::from_utf8(text.to_vec()).ok()).collect::<Option<_>>()?;
        (texts.len() == self.len() && self.element() == Element::String).then_some(texts)
    }

    /// The values as an array.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    pub fn to_array<T: Number>(&self) -> Result<ArrayD<T>, TensorError> {
        let wrong = |_| TensorError::Shape { dims: self.0.dims.clone(), bytes: 0 };
        ArrayD::from_shape_vec(self.shape()?, self.to_vec()?).map_err(wrong)
    }
}

impl<T: Number> From<&ArrayD<T>> for Tensor {
    fn from(values: &ArrayD<T>) -> Self {
        let dims: Vec<_> = values.shape().iter().map(|&size| size as i64).collect();
        let values = values.as_standard_layout();
        Self::from_raw(T::ELEMENT, dims, T::to_raw(values.as_slice().unwrap_or_default()))
    }
}

impl<T: Number> From<ArrayD<T>> for Tensor {
    fn from(values: ArrayD<T>) -> Self {
        Self::from(&values)
    }
}

/// A tensor of which only the values that are not zero are stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseTensor {
    /// The values that are stored, `[NNZ]`; their name is that of the whole tensor.
    pub values: Option<Tensor>,
    /// Their positions: `[NNZ]` in row-major order, or `[NNZ, rank]`.
    pub indices: Option<Tensor>,
    /// Dimensions of the whole tensor.
    pub dims: Vec<i64>,
}

impl SparseTensor {
    /// Name of the whole tensor.
    pub fn name(&self) -> &str {
        self.values.as_ref().map_or("", |values| values.0.name())
    }

    /// Calls `visit` with both tensors.
    pub(super) fn each_tensor<E>(
        &mut self,
        visit: &mut dyn FnMut(&str, &mut Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = self.name().to_owned();
        self.values.iter_mut().chain(&mut self.indices).try_for_each(|tensor| visit(&name, tensor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_in_every_field() {
        let dims = vec![3];
        let tensor = |element: Element, fields: TensorProto| {
            Tensor(TensorProto { data_type: Some(element.code()), dims: dims.clone(), ..fields })
        };
        let floats = TensorProto { float_data: vec![1.0, -2.5, 0.0], ..TensorProto::default() };
        let floats = tensor(Element::Float, floats);
        assert_eq!(floats.to_vec::<f32>().unwrap(), [1.0, -2.5, 0.0]);
        assert_eq!(Tensor::from(&floats.to_array::<f32>().unwrap()).bytes(), floats.bytes());
        let ints = || TensorProto { int32_data: vec![-1, 2, 300], ..TensorProto::default() };
        assert_eq!(tensor(Element::Int8, ints()).to_vec::<i8>().unwrap(), [-1, 2, 44]);
        assert_eq!(tensor(Element::Int32, ints()).to_vec::<i32>().unwrap(), [-1, 2, 300]);
        let unsigned = || TensorProto { uint64_data: vec![1, 2, u64::MAX], ..TensorProto::default() };
        assert_eq!(tensor(Element::Uint32, unsigned()).bytes().unwrap().len(), 12);
        assert_eq!(tensor(Element::Uint64, unsigned()).bytes().unwrap().len(), 24);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let ten = Tensor::from_raw(Element::Float, [2, 3], vec![0; 10]);
        assert_eq!(ten.to_vec::<f32>(), Err(TensorError::Shape { dims: vec![2, 3], bytes: 10 }));
        let huge = Tensor::from_raw(Element::Float, [i64::MAX, i64::MAX], vec![]);
        assert!(matches!(huge.to_vec::<f32>(), Err(TensorError::Shape { .. })));
        let negative = Tensor::from_raw(Element::Float, [-1], vec![0; 4]);
        assert!(negative.to_array::<f32>().is_err() && negative.is_empty());
        assert!(matches!(ten.to_vec::<i64>(), Err(TensorError::Type { .. })));
        let mut away = ten.clone();
        away.externalize("weights", 4, 10);
        assert_eq!(away.bytes(), Err(TensorError::External));
        let place = External { location: "weights", offset: Some("4"), length: Some("10") };
        assert_eq!(away.external(), Some(Some(place)));
        away.internalize(vec![0; 10].into());
        assert_eq!(away, ten);
    }
}
