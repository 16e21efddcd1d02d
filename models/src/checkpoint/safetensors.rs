//! Reader and writer for [safetensors files](https://github.com/huggingface/safetensors#format).

use std::borrow::Cow;
use std::collections::HashMap;

use crate::Weights;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::error::FormatError;
use super::stored::{Container, File, Stored, StoredTensor};
use super::tensor::Layout;

/// Lists the tensors of a safetensors file.
///
/// # Errors
/// [`FormatError`] when the file is damaged.
pub fn read(bytes: Cow<'_, [u8]>) -> Result<File<'_>, FormatError> {
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let start = header + size_of::<u64>();
    let tensors = metadata.offset_keys().into_iter().filter_map(|name| {
        let info = metadata.info(&name)?;
        let range = start + info.data_offsets.0..start + info.data_offsets.1;
        let layout = Layout::contiguous(&info.shape);
        let stored = Stored { dtype: info.dtype, big_endian: false, buffer: 0, range, layout };
        Some(StoredTensor { name, container: Container::default(), content: Ok(stored) })
    });
    let tensors = tensors.collect();
    Ok(File { tensors, buffers: vec![bytes], classes: Vec::new() })
}

/// Tells a file that was cut from one that is damaged in another way.
fn damaged(error: SafeTensorError) -> FormatError {
    match error {
        SafeTensorError::MetadataIncompleteBuffer | SafeTensorError::InvalidHeaderLength => {
            FormatError::Truncated
        }
        other => FormatError::Safetensors(other),
    }
}

/// Encodes weights as a safetensors file of 32-bit floats.
///
/// # Errors
/// [`SafeTensorError`] when the format cannot hold them.
pub fn write(weights: &Weights) -> Result<Vec<u8>, SafeTensorError> {
    let values: HashMap<&String, Vec<u8>> = weights
        .iter()
        .map(|(name, values)| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views: Result<Vec<_>, _> = weights
        .iter()
        .map(|(name, array)| {
            TensorView::new(Dtype::F32, array.shape().to_vec(), &values[name]).map(|view| (name, view))
        })
        .collect();
    safetensors::serialize(views?, None)
}
