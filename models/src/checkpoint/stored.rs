//! Tensors of checkpoint files, whose values are read when they are needed.

use std::borrow::Cow;
use std::ops::Range;

use ndarray::ArrayD;
use safetensors::Dtype;

use super::error::TensorError;
use super::tensor::{Layout, Storage};

/// Tensors of a file, and the bytes that they are views of.
#[derive(Debug, Default)]
pub struct File<'a> {
    /// Tensors in the order of the file.
    pub tensors: Vec<StoredTensor>,
    /// The file, and what was decoded from it.
    pub buffers: Vec<Cow<'a, [u8]>>,
    /// Classes and functions that the file names and that were not created or called.
    pub classes: Vec<String>,
}

impl<'a> File<'a> {
    /// Adds the tensors of another part of the same state dict.
    pub fn join(&mut self, part: File<'a>) {
        let before = self.buffers.len();
        self.tensors.extend(part.tensors.into_iter().map(|mut tensor| {
            if let Ok(stored) = &mut tensor.content {
                stored.buffer += before;
            }
            tensor
        }));
        self.buffers.extend(part.buffers);
        self.classes.extend(part.classes);
    }
}

/// Tensor of a checkpoint file.
#[derive(Debug)]
pub struct StoredTensor {
    /// Keys, indices and attributes that lead to it, joined by dots.
    pub name: String,
    /// State dict, list or module that it belongs to.
    pub(super) container: Container,
    /// Place of its values, or the reason why there are none.
    pub(super) content: Result<Stored, TensorError>,
}

/// State dict, list or module of a checkpoint file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Container {
    /// Number in the file.
    pub number: usize,
    /// Length of its own name with the dot after it, which the names of its tensors begin with.
    pub prefix: usize,
}

/// Place of a tensor's values in a file.
#[derive(Debug)]
pub struct Stored {
    /// Type of the values.
    pub dtype: Dtype,
    /// True if the bytes of a value are in big-endian order.
    pub big_endian: bool,
    /// Number of the buffer.
    pub buffer: usize,
    /// Position of the storage in the buffer.
    pub range: Range<usize>,
    /// Position of the values in the storage.
    pub layout: Layout,
}

impl StoredTensor {
    /// Shape; `None` for a tensor of a kind that has no plain values, such as a sparse one.
    pub fn shape(&self) -> Option<&[usize]> {
        self.content.as_ref().ok().map(|stored| &stored.layout.shape[..])
    }

    /// Reason why the tensor has no plain values, if it is of such a kind.
    pub fn fault(&self) -> Option<&TensorError> {
        self.content.as_ref().err()
    }

    /// Tells whether it is a counter of PyTorch's batch norms, which nothing computes with.
    pub fn is_counter(&self) -> bool {
        self.name.rsplit('.').next() == Some("num_batches_tracked")
            && self.content.as_ref().is_ok_and(|stored| stored.layout.shape.iter().all(|&size| size == 1))
    }

    /// Tells whether it holds floats, as weights do, or values that cannot be read.
    pub fn may_be_weight(&self) -> bool {
        match &self.content {
            Ok(stored) => matches!(stored.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16),
            Err(_) => true,
        }
    }

    /// Type of the values; `None` as for [`shape`](Self::shape).
    pub fn dtype(&self) -> Option<Dtype> {
        self.content.as_ref().ok().map(|stored| stored.dtype)
    }

    /// Reads the values as 32-bit floats.
    ///
    /// # Errors
    /// [`TensorError`] when it is not a float tensor or does not lie inside its storage.
    pub(super) fn values(&self, buffers: &[Cow<'_, [u8]>]) -> Result<ArrayD<f32>, TensorError> {
        let stored = self.content.as_ref().map_err(Clone::clone)?;
        let bytes = buffers.get(stored.buffer).and_then(|buffer| buffer.get(stored.range.clone()));
        let bytes = bytes.unwrap_or_default();
        Storage { dtype: stored.dtype, bytes, big_endian: stored.big_endian }.tensor(&stored.layout)
    }
}
