//! Evaluation of a network on images, without gradients.

use ferronnx_models::Module;
use ndarray::{Array2, Axis, s};
use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::team::exchange;
use super::totals::batch_sums;
use crate::data::batches::Loader;
use crate::distributed::{Group, World};
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
    evaluate_by(None, network, params, images)
}

/// Evaluates a network on a set of images, every n-th batch by each of the n ranks of `group`: each image once. All ranks
/// get the whole evaluation, which is that of one process.
///
/// # Errors
/// Those of [`evaluate`], and [`TrainError::Distributed`] when a rank is missing.
pub(crate) fn evaluate_by(
    group: Option<&Group>,
    network: &impl Module,
    params: &Params,
    images: Loader<'_>,
) -> Result<Evaluation, TrainError> {
    let _guard = tch::no_grad_guard();
    let world = group.map_or(World::single(), Group::world);
    let eager = Eager::eval(params);
    let batches = images.set().len().div_ceil(EVALUATION_BATCH);
    let sums = Tensor::f_zeros([batches as i64, 2], (Kind::Float, Device::Cpu))?;
    let mut rows = Vec::new();
    for batch in images.slices(world).in_order(EVALUATION_BATCH) {
        let batch = batch?;
        let logits = network.forward(&eager, &batch.images)?;
        let loss = Loss::default().mean(&logits, &batch.targets())?;
        let number = batch.step * world.size + world.rank;
        sums.f_select(0, number as i64)?.f_copy_(&batch_sums(&loss, &logits, &batch.targets())?)?;
        rows.push((batch.indices, row_of_each(&logits)?));
    }
    let table = table(group, images.set().len(), &rows)?;
    if let Some(group) = group {
        // Other ranks have zeros where this one has values.
        group.all_reduce(&sums)?;
        group.all_reduce(&table)?;
    }
    evaluation(&sums, &matrix(&table)?)
}

/// Columns before the logits in the table of an evaluation: 1 for an image that was decoded, most probable class, and its
/// probability.
const COLUMNS: usize = 3;

/// Rows `[N, 3 + classes]` for the table of an evaluation, on the CPU.
fn row_of_each(logits: &Tensor) -> Result<Tensor, TrainError> {
    if logits.dim() != 2 {
        return Err(TrainError::Output(logits.size().iter().map(|&size| size as usize).collect()));
    }
    let (probabilities, classes) = logits.f_softmax(1, Kind::Float)?.f_max_dim(1, true)?;
    let decoded = probabilities.f_ones_like()?;
    let columns = [decoded, classes.f_to_kind(Kind::Float)?, probabilities, logits.f_to_kind(Kind::Float)?];
    Ok(Tensor::f_cat(&columns, 1)?.f_to_device(Device::Cpu)?)
}

/// Table `[images, 3 + classes]` with the rows of this rank's images, and zeros for all others.
fn table(group: Option<&Group>, images: usize, rows: &[(Vec<usize>, Tensor)]) -> Result<Tensor, TrainError> {
    let mut width = rows.first().map_or(0, |(_, rows)| rows.size()[1]);
    if let Some(group) = group {
        // A rank without a batch does not know the number of classes.
        width = exchange(group, &width)?.into_iter().max().unwrap_or(width);
    }
    let mut table = Tensor::f_zeros([images as i64, width], (Kind::Float, Device::Cpu))?;
    for (indices, rows) in rows {
        let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
        let _ = table.f_index_copy_(0, &Tensor::f_from_slice(&indices)?, rows)?;
    }
    Ok(table)
}

/// Reads an evaluation from the sums of losses and of right predictions of its batches, `[batches, 2]`, and its table.
fn evaluation(sums: &Tensor, table: &Array2<f32>) -> Result<Evaluation, TrainError> {
    let decoded: Vec<usize> = (0..table.nrows()).filter(|&index| table[[index, 0]] == 1.0).collect();
    if decoded.is_empty() {
        return Err(TrainError::NoImages);
    }
    let sums = matrix(sums)?
        .rows()
        .into_iter()
        .fold([0.0_f32; 2], |[loss, correct], row| [loss + row[0], correct + row[1]]);
    let [loss, accuracy] = sums.map(|sum| f64::from(sum) / decoded.len() as f64);
    let prediction = |&index: &usize| Prediction {
        index,
        class: table[[index, 1]] as usize,
        probability: table[[index, 2]],
    };
    let logits = table.select(Axis(0), &decoded).slice_move(s![.., COLUMNS..]);
    Ok(Evaluation { loss, accuracy, predictions: decoded.iter().map(prediction).collect(), logits })
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
