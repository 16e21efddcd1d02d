//! Reference values of libtorch for comparisons with the file.

use std::rc::Rc;

use ferronnx_infer::preprocess::{Batch, Preprocessor};
use ferronnx_models::Module;
use ferronnx_models::card::InputForm;
use ferronnx_models::lockstep::LockstepError;
use ferronnx_models::onnx::{self, Interface};
use image::RgbImage;
use ndarray::Array2;
use tch::Tensor;

use super::ExportError;
use crate::eager::Eager;
use crate::params::{Params, to_tensor};
use crate::trainer;

/// A network on libtorch, for images of the input's size.
pub(super) struct Reference<'a, M> {
    pub(super) network: &'a M,
    pub(super) params: Params,
    pub(super) preprocessor: Preprocessor,
    pub(super) interface: Interface,
}

impl<M: Module> Reference<'_, M> {
    /// Normalises images to `[N, C, H, W]`.
    fn images(&self, images: &[RgbImage]) -> Result<Tensor, ExportError> {
        match self.preprocessor.batch(images, InputForm::Float) {
            Batch::Float(floats) => Ok(to_tensor(&floats.into_dyn())?),
            Batch::Bytes(_) => unreachable!("floats were asked for"),
        }
    }

    /// Computes logits `[N, classes]`.
    pub(super) fn logits(&self, images: &[RgbImage]) -> Result<Array2<f32>, ExportError> {
        Ok(trainer::logits(self.network, &self.params, &self.images(images)?)?)
    }

    /// Computes all values of the graph, by their names in the file; the input is the first.
    pub(super) fn values(&self, images: &[RgbImage]) -> Result<onnx::Values<Tensor>, ExportError> {
        let _guard = tch::no_grad_guard();
        let images = self.images(images)?;
        let mut values =
            onnx::Values::from([(self.interface.input.clone(), Rc::new(images.shallow_clone()))]);
        let eager = Eager::eval(&self.params);
        let computed = onnx::values(self.network, &self.interface, &eager, images);
        values.extend(computed.map_err(|error| match error {
            LockstepError::Names(error) => ExportError::Trace(error),
            LockstepError::Values(error) => ExportError::Train(error.into()),
        })?);
        Ok(values)
    }
}
