//! Evaluation of a network on images, without gradients.

use ferronnx_models::Module;
use ndarray::Array2;
use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::totals::{Sums, Totals, batch_sums};
use crate::data::batches::Loader;
use crate::eager::Eager;
use crate::error::TorchError;
use crate::loss::Loss;
use crate::params::{Params, to_array};

/// Prediction for an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Index of the image in its set.
    pub index: usize,
    /// Index of the most probable class.
    pub class: usize,
    /// Probability of that class.
    pub probability: f32,
}

/// Loss, accuracy, logits and predictions on a set of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy, without class weights and smoothing; binary cross-entropy in a multi-label task.
    pub loss: f64,
    /// Accuracy, in [0, 1]; in a multi-label task the share of right decisions among all images and classes, each class
    /// selected from a probability of 0.5 on.
    pub accuracy: f64,
    /// Most probable class by softmax, one per image that could be decoded. A multi-label task looks at the logits instead.
    pub predictions: Vec<Prediction>,
    /// Logits `[N, classes]` on the CPU, a row per prediction, in the same order.
    pub logits: Array2<f32>,
}

/// Batch size of evaluation.
const EVALUATION_BATCH: usize = 100;

/// Evaluates a network on a set of images.
///
/// # Errors
/// [`TrainError::NoImages`] when none can be decoded, [`TrainError::Output`] when the network does not give a row of
/// logits for each image; others when libtorch fails.
pub fn evaluate(
    network: &impl Module,
    params: &Params,
    images: Loader<'_>,
) -> Result<Evaluation, TrainError> {
    let _guard = tch::no_grad_guard();
    let eager = Eager::eval(params);
    let mut totals = Totals::new(&Sums::default(), params.device())?;
    let (mut predictions, mut rows) = (Vec::new(), Vec::new());
    for batch in images.in_order(EVALUATION_BATCH) {
        let batch = batch?;
        let logits = network.forward(&eager, &batch.images)?;
        let loss = Loss::default().mean(&logits, &batch.targets())?;
        totals.add(&batch_sums(&loss, &logits, &batch.targets())?, &batch)?;
        rows.push(logits.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?);
        let (probabilities, classes) = logits.f_softmax(1, Kind::Float)?.f_max_dim(1, false)?;
        let classes = Vec::<i64>::try_from(&classes)?;
        let probabilities = Vec::<f32>::try_from(&probabilities)?;
        let found = batch.indices.iter().zip(classes).zip(probabilities);
        predictions.extend(found.map(|((&index, class), probability)| Prediction {
            index,
            class: class as usize,
            probability,
        }));
    }
    if predictions.is_empty() {
        return Err(TrainError::NoImages);
    }
    let sums = totals.read()?;
    let (loss, accuracy) = sums.means();
    let logits = matrix(&Tensor::f_cat(&rows, 0)?)?;
    Ok(Evaluation { loss, accuracy, predictions, logits })
}

/// Computes logits `[N, classes]` for images `[N, 3, H, W]` in evaluation mode.
///
/// # Errors
/// [`TrainError::Output`] when the network gives another shape; others when libtorch fails.
pub fn logits(network: &impl Module, params: &Params, images: &Tensor) -> Result<Array2<f32>, TrainError> {
    let _guard = tch::no_grad_guard();
    let images = images.f_to_device(params.device()).map_err(TorchError::from)?;
    matrix(&network.forward(&Eager::eval(params), &images)?)
}

/// Copies logits `[N, classes]` to the CPU.
fn matrix(logits: &Tensor) -> Result<Array2<f32>, TrainError> {
    let array = to_array(logits)?;
    let shape = array.shape().to_vec();
    array.into_dimensionality().map_err(|_| TrainError::Output(shape))
}
