//! Reader and writer for [safetensors files](https://github.com/huggingface/safetensors#format).

use std::collections::HashMap;

use crate::Weights;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::builder::WeightsBuilder;
use super::error::FormatError;
use super::tensor::{Layout, Storage};

/// Reads the weights of a safetensors file.
///
/// # Errors
/// [`FormatError`] when the file is damaged, or a tensor cannot be a weight.
pub fn read(bytes: &[u8]) -> Result<Weights, FormatError> {
    let file = SafeTensors::deserialize(bytes).map_err(FormatError::Safetensors)?;
    let mut weights = WeightsBuilder::new(bytes);
    for (name, view) in file.iter() {
        let storage = Storage { dtype: view.dtype(), bytes: view.data(), big_endian: false };
        weights.add(name, storage, &Layout::contiguous(view.shape()))?;
    }
    Ok(weights.build())
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
