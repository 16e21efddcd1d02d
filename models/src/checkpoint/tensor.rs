//! Conversion of tensors of any float type and layout to contiguous 32-bit floats.

use half::{bf16, f16};
use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder, ShapeError};
use safetensors::Dtype;

use super::error::TensorError;

/// Largest number of dimensions in PyTorch.
pub(super) const MAX_DIMENSIONS: usize = 64;

/// Storage: the bytes of values of one type.
#[derive(Debug, Clone, Copy)]
pub struct Storage<'a> {
    /// Type of the values.
    pub dtype: Dtype,
    /// Bytes of the values.
    pub bytes: &'a [u8],
    /// True if the bytes of a value are in big-endian order.
    pub big_endian: bool,
}

/// Layout of a tensor in its storage, counted in values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Position of the first value.
    pub offset: usize,
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// Stride along each axis.
    pub strides: Vec<usize>,
}

impl Layout {
    /// Layout of a contiguous tensor from the start of its storage.
    pub fn contiguous(shape: &[usize]) -> Self {
        let mut step = 1_usize;
        let mut strides = vec![0; shape.len()];
        for (stride, &size) in strides.iter_mut().zip(shape).rev() {
            *stride = step;
            step = step.saturating_mul(size);
        }
        Self { offset: 0, shape: shape.into(), strides }
    }

    /// Number of values; none if it overflows.
    pub fn len(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |len, &size| len.checked_mul(size))
    }
}

impl Storage<'_> {
    /// Converts a tensor to 32-bit floats, rounded to nearest.
    ///
    /// # Errors
    /// [`TensorError`] when it is not a float tensor or does not lie inside the storage.
    pub fn tensor(&self, layout: &Layout) -> Result<ArrayD<f32>, TensorError> {
        if layout.shape.len() > MAX_DIMENSIONS {
            return Err(TensorError::Dimensions(layout.shape.len()));
        }
        let values = match self.dtype {
            Dtype::F32 => self.gather(layout, f32::from_le_bytes),
            Dtype::F16 => self.gather(layout, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => self.gather(layout, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Dtype::F64 => self.gather(layout, |bytes| f64::from_le_bytes(bytes) as f32),
            other => return Err(TensorError::Type(other)),
        };
        values.map_err(TensorError::Layout)
    }

    fn gather<const N: usize>(
        &self,
        layout: &Layout,
        decode: impl Fn([u8; N]) -> f32,
    ) -> Result<ArrayD<f32>, ShapeError> {
        if layout.len() == Some(0) {
            return ArrayD::from_shape_vec(IxDyn(&layout.shape), Vec::new()); // strides do not matter for no values
        }
        let (stored, _) = self.bytes.as_chunks::<N>();
        let stored = stored.get(layout.offset..).unwrap_or_default();
        let strides = IxDyn(&layout.strides);
        let view = ArrayViewD::from_shape(IxDyn(&layout.shape).strides(strides), stored)?;
        let values = view.iter().map(|&(mut bytes)| {
            if self.big_endian {
                bytes.reverse();
            }
            decode(bytes)
        });
        ArrayD::from_shape_vec(IxDyn(&layout.shape), values.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(offset: usize, shape: &[usize], strides: &[usize]) -> Layout {
        Layout { offset, shape: shape.into(), strides: strides.into() }
    }

    #[test]
    fn every_floating_type_in_both_byte_orders() {
        let bytes: [(Dtype, &[u8]); 4] = [
            (Dtype::F32, &[0xC0, 0x20, 0, 0]),
            (Dtype::F16, &[0xC1, 0x00]),
            (Dtype::BF16, &[0xC0, 0x20]),
            (Dtype::F64, &[0xC0, 0x04, 0, 0, 0, 0, 0, 0]),
        ];
        for (dtype, big) in bytes {
            let little: Vec<u8> = big.iter().rev().copied().collect();
            for (bytes, big_endian) in [(big, true), (&little[..], false)] {
                let found = Storage { dtype, bytes, big_endian }.tensor(&layout(0, &[], &[])).unwrap();
                assert_eq!(found[[]], -2.5, "{dtype}, big endian: {big_endian}");
            }
        }
    }

    #[test]
    fn views_are_gathered_and_never_leave_their_storage() {
        let bytes: Vec<u8> = (0..6).flat_map(|value| (value as f32).to_le_bytes()).collect();
        let storage = Storage { dtype: Dtype::F32, bytes: &bytes, big_endian: false };
        let values = |layout| storage.tensor(&layout).map(|array| array.into_raw_vec_and_offset().0);
        assert_eq!(values(layout(1, &[2, 2], &[1, 2])).unwrap(), [1.0, 3.0, 2.0, 4.0], "transposed");
        assert_eq!(values(layout(5, &[3], &[0])).unwrap(), [5.0; 3], "expanded");
        assert_eq!(values(layout(6, &[0, 4], &[4, 1])).unwrap(), [0.0; 0], "empty");
        let huge = usize::MAX / 2;
        for outside in [
            layout(0, &[7], &[1]),
            layout(1, &[6], &[1]),
            layout(0, &[2], &[6]),
            layout(6, &[], &[]),
            layout(huge, &[1], &[1]),
            layout(0, &[2], &[huge]),
            layout(0, &[huge, huge], &[0, 0]),
            layout(0, &[2, 2], &[1]),
        ] {
            let error = values(outside.clone()).unwrap_err();
            assert!(matches!(error, TensorError::Layout(_)), "{outside:?}: {error}");
        }
        assert!(values(layout(0, &[1; 65], &[1; 65])).unwrap_err().to_string().contains("65 dimensions"));
    }

    #[test]
    fn other_types_are_named() {
        let storage = Storage { dtype: Dtype::I32, bytes: &[0; 4], big_endian: false };
        assert!(
            storage
                .tensor(&layout(0, &[1], &[1]))
                .unwrap_err()
                .to_string()
                .starts_with("is I32: weights are")
        );
    }
}
