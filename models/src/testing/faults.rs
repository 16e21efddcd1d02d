//! Faults in exported files whose digests are rewritten, so that only their logits can tell.

use crate::card::{CARD_KEY, ModelCard};
use crate::certificate::{CERTIFICATE_KEY, CardDigests, Certificate, CertificateError};
use crate::onnx::digest::DigestError;
use crate::onnx::{self, Model, Node, ReadError, Tensor, TensorError, WeightsDigest};

/// Fault of an exported file of 32-bit floats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The weights of one output channel of a convolution are multiplied by a factor.
    Scale {
        /// Position among [`convolutions`].
        convolution: usize,
        /// Output channel.
        channel: usize,
        /// Factor of the weights.
        factor: f32,
    },
    /// Two labels have each other's weights and biases in the last layer.
    Labels(usize, usize),
    /// The mean of the first channel in the card is off by this many levels of 255.
    Mean(f32),
    /// The weights of a convolution are rounded to 8 bits, with a scale for each output channel.
    EightBits {
        /// Position among [`convolutions`].
        convolution: usize,
    },
}

/// Reason why a file cannot be given a fault.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The bytes are no model.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Weights cannot be read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The weights have no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The card cannot be read.
    #[error("the card cannot be read")]
    Card(#[from] serde_json::Error),
    /// The file has no card, no certificate, or not the layer that the fault is for.
    #[error("the file has no {0}")]
    Missing(&'static str),
}

/// Puts `fault` into the content of a file, and rewrites the digests of its certificate.
///
/// # Errors
/// [`FaultError`] when `file` is not an export of 32-bit floats with the layer that the fault is for.
pub fn faulty(file: &[u8], fault: Fault) -> Result<Vec<u8>, FaultError> {
    let mut model = Model::from_slice(file)?;
    let text = |key| model.metadata.get(key).map(str::to_owned);
    let mut card: ModelCard = serde_json::from_str(&text(CARD_KEY).ok_or(FaultError::Missing("card"))?)?;
    let certificate = text(CERTIFICATE_KEY).ok_or(FaultError::Missing("certificate"))?;
    let mut certificate = Certificate::from_json(&certificate)?;
    match fault {
        Fault::Scale { convolution, channel, factor } => scale(&mut model, convolution, channel, factor)?,
        Fault::Labels(a, b) => exchange(&mut model, a, b)?,
        Fault::Mean(levels) => card.preprocessing.mean[0] += levels / 255.0,
        Fault::EightBits { convolution } => round_to_8_bits(&mut model, convolution)?,
    }
    certificate.weights = WeightsDigest::of_graph(&model.graph)?;
    certificate.card = CardDigests::of(&card);
    // Of several values of a key, the last counts.
    Ok(onnx::encode(model, &[(CARD_KEY, &card.to_json()), (CERTIFICATE_KEY, &certificate.to_json())]))
}

/// Names of the weights of all convolutions, in the order of the graph.
pub fn convolutions(model: &Model) -> Vec<String> {
    let weights = |node: &Node| node.is("Conv").then(|| node.input(1).map(str::to_owned))?;
    let known = |name: &String| model.graph.initializers.contains_key(name);
    model.graph.nodes.iter().filter_map(weights).filter(known).collect()
}

/// Weights of the convolution at `position`.
fn kernel(model: &mut Model, position: usize) -> Result<&mut Tensor, FaultError> {
    let name = convolutions(model).into_iter().nth(position);
    let weights = name.and_then(|name| model.graph.initializers.get_mut(&name));
    weights.ok_or(FaultError::Missing("such convolution"))
}

fn scale(model: &mut Model, position: usize, channel: usize, factor: f32) -> Result<(), FaultError> {
    let kernel = kernel(model, position)?;
    let mut weights = kernel.to_array::<f32>()?;
    let mut channels = weights.outer_iter_mut();
    let mut found = channels.nth(channel).ok_or(FaultError::Missing("such channel"))?;
    found.mapv_inplace(|weight| weight * factor);
    *kernel = Tensor::from(weights);
    Ok(())
}

fn round_to_8_bits(model: &mut Model, position: usize) -> Result<(), FaultError> {
    let kernel = kernel(model, position)?;
    let mut weights = kernel.to_array::<f32>()?;
    for mut channel in weights.outer_iter_mut() {
        let step = channel.iter().fold(f32::MIN_POSITIVE, |max, weight| max.max(weight.abs())) / 127.0;
        channel.mapv_inplace(|weight| (weight / step).round() * step);
    }
    *kernel = Tensor::from(weights);
    Ok(())
}

fn exchange(model: &mut Model, a: usize, b: usize) -> Result<(), FaultError> {
    let layer = model.graph.nodes.iter().rfind(|node| node.is("Gemm"));
    let operands = layer.ok_or(FaultError::Missing("linear layer"))?.inputs[1..].to_vec();
    for name in operands {
        let tensor = model.graph.initializers.get_mut(&name).ok_or(FaultError::Missing("linear layer"))?;
        let values = tensor.to_array::<f32>()?;
        let rows = values.shape()[0];
        if a.max(b) >= rows {
            return Err(FaultError::Missing("such labels"));
        }
        let mut order: Vec<usize> = (0..rows).collect();
        order.swap(a, b);
        *tensor = Tensor::from(values.select(ndarray::Axis(0), &order));
    }
    Ok(())
}
