//! Conversion of a file's tensors to weights.

use crate::Weights;
use ndarray::ArrayD;
use safetensors::Dtype;

use super::error::{FormatError, TensorError};
use super::tensor::{Layout, Storage};

/// Prefixes that PyTorch's wrappers put before every name: those of `DataParallel` and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Builder of weights from the tensors of a file.
#[derive(Debug)]
pub struct WeightsBuilder {
    weights: Weights,
    /// Number of values that may still be added.
    budget: usize,
}

impl WeightsBuilder {
    /// Starts with no weights; they may have as many values as the file has bytes.
    ///
    /// Views may overlap, so a few bytes could otherwise become any number of values.
    pub fn new(file: &[u8]) -> Self {
        Self { weights: Weights::new(), budget: file.len() }
    }

    /// Adds a tensor, unless it is one of the unused counters of PyTorch's batch norms.
    ///
    /// # Errors
    /// [`FormatError::Tensor`] when the tensor cannot be a weight.
    pub fn add(&mut self, name: &str, storage: Storage<'_>, layout: &Layout) -> Result<(), FormatError> {
        let name = unwrapped(name);
        if storage.dtype == Dtype::I64 && name.rsplit('.').next() == Some("num_batches_tracked") {
            return Ok(());
        }
        let values = self.values(name, storage, layout);
        let values = values.map_err(|why| FormatError::Tensor { name: FormatError::quote(name), why })?;
        self.weights.insert(name.to_owned(), values);
        Ok(())
    }

    fn values(
        &mut self,
        name: &str,
        storage: Storage<'_>,
        layout: &Layout,
    ) -> Result<ArrayD<f32>, TensorError> {
        if name.chars().any(char::is_control) {
            return Err(TensorError::Name);
        }
        if self.weights.contains_key(name) {
            return Err(TensorError::Twice);
        }
        let left = layout.len().and_then(|len| self.budget.checked_sub(len));
        self.budget = left.ok_or(TensorError::TooLarge)?;
        storage.tensor(layout)
    }

    /// Returns the weights.
    pub fn build(self) -> Weights {
        self.weights
    }
}

/// Removes the prefixes of wrappers from a name.
fn unwrapped(mut name: &str) -> &str {
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(builder: &mut WeightsBuilder, name: &str, shape: &[usize]) -> Result<(), String> {
        let storage = Storage { dtype: Dtype::F32, bytes: &[0; 8], big_endian: false };
        let layout = Layout { offset: 0, shape: shape.into(), strides: vec![0; shape.len()] };
        builder.add(name, storage, &layout).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_unwrapped_and_stay_single() {
        let mut builder = WeightsBuilder::new(&[0; 100]);
        add(&mut builder, "module._orig_mod.fc.weight", &[2]).unwrap();
        add(&mut builder, "module_list.weight", &[2]).unwrap();
        assert_eq!(add(&mut builder, "fc.weight", &[2]).unwrap_err(), "fc.weight is there twice");
        let error = add(&mut builder, "red\u{1b}[31m", &[2]).unwrap_err();
        assert_eq!(error, "red\\u{1b}[31m is no name of a tensor");
        assert_eq!(builder.build().keys().collect::<Vec<_>>(), ["fc.weight", "module_list.weight"]);
    }

    #[test]
    fn a_small_file_does_not_become_large() {
        let mut builder = WeightsBuilder::new(&[0; 100]);
        add(&mut builder, "a", &[60]).unwrap();
        for shape in [&[41][..], &[usize::MAX, 2], &[usize::MAX]] {
            assert_eq!(
                add(&mut builder, "b", shape).unwrap_err(),
                "b has more values than the file has room for"
            );
        }
        add(&mut builder, "c", &[40]).unwrap();
    }
}
