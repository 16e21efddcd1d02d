//! Summary of a network: output shape, parameters and multiply-accumulates of each layer.

use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_models::shapes::{self, LayerDescription};
use serde::Serialize;

/// Summary of a network for one image of a given size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Description of the network on one line.
    pub network: String,
    /// Shape of the input, `[1, C, H, W]`.
    pub input: [usize; 4],
    /// Layers with parameters, in their order.
    pub layers: Vec<Layer>,
    /// Sums over all layers.
    pub total: Total,
}

/// Summary of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Full name.
    pub name: String,
    /// Shape of the output, `[1, ...]`.
    pub output: Vec<usize>,
    /// Trainable values.
    pub parameters: usize,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// Sums over all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Stored values.
    pub values: usize,
    /// Trainable values, which are usually called the parameters of a network.
    pub trainable: usize,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Size of the values as float32, in bytes.
    pub bytes: usize,
}

/// Errors of making a summary.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// The configuration has no network.
    #[error(transparent)]
    Architecture(#[from] ferronnx_models::networks::ArchitectureError),
    /// The network does not take images of this size.
    #[error("an image of {side}x{side} does not fit the network")]
    Size {
        /// Height and width.
        side: usize,
        /// The layer and the reason.
        source: shapes::ShapeError,
    },
}

impl Summary {
    /// Summarises the network for square images of `side` pixels.
    ///
    /// # Errors
    /// [`SummaryError`] when there is no such network, or it does not take images of this size.
    pub fn new(architecture: &Architecture, side: usize) -> Result<Self, SummaryError> {
        let input = [1, architecture.channels, side, side];
        let network = Classifier::new(architecture)?;
        let described =
            shapes::describe(&network, &input).map_err(|source| SummaryError::Size { side, source })?;
        let values = described.params.iter().map(|param| param.shape.iter().product::<usize>()).sum();
        let layers = described.layers;
        let total = Total {
            values,
            trainable: layers.iter().map(|layer| layer.parameters).sum(),
            macs: layers.iter().map(|layer| layer.macs).sum(),
            bytes: size_of::<f32>() * values,
        };
        let layers = layers.into_iter().map(Layer::from).collect();
        Ok(Self { network: architecture.to_string(), input, layers, total })
    }
}

impl From<LayerDescription> for Layer {
    fn from(layer: LayerDescription) -> Self {
        let LayerDescription { name, output, parameters, macs, .. } = layer;
        Self { name, output, parameters, macs }
    }
}

#[cfg(test)]
mod tests {
    use ferronnx_models::networks::Stem;

    use super::*;

    #[test]
    fn the_totals_of_torchvisions_network_are_those_known() {
        let plain =
            Architecture { classes: 1000, stem: Stem::Imagenet, attention: None, ..Architecture::default() };
        let total = Summary::new(&plain, 224).unwrap().total;
        assert_eq!((total.trainable, total.macs), (11_689_512, 1_814_073_344));
        assert_eq!((total.values, total.bytes), (11_699_112, 46_796_448));
    }

    #[test]
    fn the_last_layer_gives_the_logits() {
        let summary = Summary::new(&Architecture::default(), 32).unwrap();
        assert_eq!(summary.layers.last().unwrap().name, "backbone.fc");
        assert_eq!(summary.layers.last().unwrap().output, [1, 10]);
    }
}
