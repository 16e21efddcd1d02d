//! Estimate of the memory that a run needs.

use ferronnx_infer::places;
use ferronnx_models::shapes::Description;
use serde::Serialize;

use super::RunConfig;
use crate::data::Source;
use crate::data::images::Loading;
use crate::optimizer::Algorithm;
use crate::recipe::Recipe;

/// Estimate of the memory that a run needs on its device, in bytes, without that of the libraries. Encoded images are in
/// the memory of the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryEstimate {
    /// Decoded images: all that fit into memory, and three batches of those that do not.
    pub images: u64,
    /// Encoded images of shards that do not fit into memory: those of the shuffle window, and what is read ahead.
    pub window: u64,
    /// Weights, gradients, state of the optimizer, and the average of the weights.
    pub network: u64,
    /// Values of the layers for a batch, which the gradients need.
    pub batch: u64,
    /// Sum of them.
    pub total: u64,
}

/// Tensors of the size of the weights while training: weights, gradients, moments of the optimizer, and the average.
fn copies(recipe: &Recipe) -> u64 {
    let moments = match recipe.optimizer.name {
        Algorithm::Sgd => 1,
        Algorithm::Adam | Algorithm::AdamW => 2,
    };
    2 + moments + u64::from(recipe.ema.is_some())
}

impl MemoryEstimate {
    /// Estimates the memory of a run on sets of `counts` images each of a source, the training set first; `network` is
    /// described for a batch of one image.
    pub fn new(config: &RunConfig, network: &Description, source: &Source, counts: &[usize]) -> Self {
        let product = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        let crop = config.preprocessing.crop;
        let item =
            config.preprocessing.color.channels() as u64 * u64::from(crop.height) * u64::from(crop.width);
        let batch_size = config.recipe.batch_size as u64;
        let originals = config.recipe.augment.needs_originals(crop.height);
        let read_again =
            |set: usize, count: usize| count as u64 * item > Loading::DEFAULT_BUDGET || set == 0 && originals;
        let images = counts.iter().enumerate().map(|(set, &count)| {
            let all = count as u64 * item;
            if read_again(set, count) { (3 * batch_size * item).min(all) } else { all }
        });
        let images = images.sum();
        let ahead = places::Options::default().window_bytes as u64;
        let window = counts.iter().enumerate().filter(|(set, count)| read_again(*set, **count)).map(
            |(set, &count)| {
                // Only training images are shuffled.
                let shuffled = if set == 0 { config.shuffle_window.min(count) } else { 0 };
                let held = |images| source.held_bytes(images).unwrap_or_default();
                held(shuffled) + held(count).min(ahead)
            },
        );
        // One set is read after the other.
        let window = window.max().unwrap_or_default();
        let float = size_of::<f32>() as u64;
        let network_bytes = float
            * copies(&config.recipe)
            * network.params.iter().map(|param| product(&param.shape)).sum::<u64>();
        let values: u64 = network.layers.iter().map(|layer| product(&layer.output)).sum();
        let batch = float * batch_size * (values + item);
        Self { images, window, network: network_bytes, batch, total: images + window + network_bytes + batch }
    }
}
