//! Drift: difference of every value in the file to libtorch's, to find the node where an export goes wrong.

use std::collections::HashMap;

use ferronnx_infer::Session;
use ferronnx_models::Module;
use ferronnx_models::card::InputForm;
use ferronnx_models::onnx::passes::{self, IntermediateOutput};
use ferronnx_models::onnx::{self, Model};
use ndarray::ArrayD;
use tch::Tensor;

use super::reference::Reference;
use super::{ExportError, Images, cpu};
use crate::params::to_array;

/// Batch size: all values of all images are in memory.
const BATCH: usize = 4;

/// Difference of a value in the file to libtorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// Node that computes the value.
    pub node: String,
    /// Root mean square of the differences, relative to that of the values.
    pub relative: f64,
    /// Drift added by this node: `relative` minus the largest drift of its inputs.
    pub added: f64,
    /// Largest difference.
    pub max_difference: f64,
    /// Largest magnitude of libtorch's values.
    pub max_value: f64,
}

/// Sums over images.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    squared_difference: f64,
    squared_value: f64,
    max_difference: f64,
    max_value: f64,
}

impl Sums {
    fn add(&mut self, found: &ArrayD<f32>, reference: &ArrayD<f32>) {
        for (&found, &reference) in found.iter().zip(reference) {
            let (value, difference) = (f64::from(reference), f64::from(found) - f64::from(reference));
            self.squared_difference += difference * difference;
            self.squared_value += value * value;
            // `max` ignores NaN.
            let difference = if difference.is_nan() { f64::INFINITY } else { difference.abs() };
            self.max_difference = self.max_difference.max(difference);
            self.max_value = self.max_value.max(value.abs());
        }
    }

    fn relative(&self) -> f64 {
        let relative = (self.squared_difference / self.squared_value.max(f64::MIN_POSITIVE)).sqrt();
        if relative.is_nan() { f64::INFINITY } else { relative }
    }
}

/// Measures the drift of every value of `model` that has a name in the network, largest added drift first.
pub(super) fn drift(
    reference: &Reference<'_, impl Module>,
    mut model: Model,
    input: InputForm,
    images: &Images,
) -> Result<Vec<Drift>, ExportError> {
    let mut batches = images.images.chunks(BATCH).map(|images| {
        let values = reference.values(images)?;
        Ok::<_, ExportError>((reference.preprocessor.batch(images, input), values))
    });
    let Some(first) = batches.next().transpose()? else { return Ok(Vec::new()) };
    let shape = |value: &Tensor| value.size().iter().map(|&size| size as usize).collect();
    let shapes: Vec<_> = first.1.iter().map(|(name, value)| (name.clone(), shape(value))).collect();
    let exposed = passes::add_intermediate_outputs(&mut model, &shapes);

    let session = Session::from_bytes(&onnx::encode(model, &[]), &cpu())?;
    let outputs: Vec<&str> = exposed.iter().map(|exposed| exposed.output.as_str()).collect();
    let mut sums = vec![Sums::default(); exposed.len()];
    for batch in std::iter::once(Ok(first)).chain(batches) {
        let (input, values) = batch?;
        let found = session.fetch(&input, &outputs)?;
        for ((exposed, found), sums) in exposed.iter().zip(&found).zip(&mut sums) {
            sums.add(found, &to_array(&values[&exposed.value])?);
        }
    }
    Ok(ranked(&exposed, &sums))
}

fn ranked(exposed: &[IntermediateOutput], sums: &[Sums]) -> Vec<Drift> {
    let relative: HashMap<&str, f64> =
        exposed.iter().zip(sums).map(|(exposed, sums)| (exposed.value.as_str(), sums.relative())).collect();
    let drift = |(exposed, sums): (&IntermediateOutput, &Sums)| {
        let before = exposed.from.iter().filter_map(|name| relative.get(name.as_str()));
        let before = before.copied().fold(0.0, f64::max);
        Drift {
            node: exposed.node.clone(),
            relative: sums.relative(),
            added: if before < sums.relative() { sums.relative() - before } else { 0.0 },
            max_difference: sums.max_difference,
            max_value: sums.max_value,
        }
    };
    let mut all: Vec<_> = exposed.iter().zip(sums).map(drift).collect();
    all.sort_by(|a, b| b.added.total_cmp(&a.added));
    all
}

#[cfg(test)]
mod tests {
    use ferronnx_infer::preprocess::Preprocessor;
    use ferronnx_models::card::Preprocessing;
    use ferronnx_models::layers::Attention;
    use ferronnx_models::networks::{Architecture, Classifier};
    use ferronnx_models::onnx::{Interface, Opset, trace};
    use ferronnx_models::{Weights, shapes, testing};
    use tch::Device;

    use super::*;
    use crate::params::Params;

    /// Measures the drift of a file with changed weights.
    fn found(change: impl FnOnce(&mut Weights)) -> Vec<Drift> {
        let architecture = Architecture {
            classes: 2,
            attention: Some(Attention::default().into()),
            ..Architecture::default()
        };
        let network = Classifier::new(&architecture).unwrap();
        let mut weights = testing::weights(&network, &[1, 3, 16, 16]).unwrap();
        let described = shapes::describe(&network, &[1, 3, 16, 16]).unwrap().params;
        let params = Params::initialise(&described, 0, Device::Cpu).unwrap();
        params.assign_all(&weights).unwrap();
        change(&mut weights);
        let interface = Interface::new([3, 16, 16]).output("logits");
        let mut graph = trace(&network, &weights, &interface, Opset::default()).unwrap();
        passes::fold_batch_norm(&mut graph);
        let preprocessor = Preprocessor::new(&Preprocessing::for_size(16));
        let images = Images::generated(&preprocessor);
        let reference = Reference { network: &network, params, preprocessor, interface };
        drift(&reference, graph, InputForm::Float, &images).unwrap()
    }

    #[test]
    fn a_sound_file_hardly_drifts_anywhere() {
        let all = found(|_| ());
        assert!(all.len() > 70, "{}", all.len());
        assert!(all.iter().all(|drift| drift.relative < 1e-5), "{:?}", all[0]);
    }

    #[test]
    fn a_bad_layer_is_found_by_name() {
        for (weight, node) in [
            ("backbone.layer2.0.conv1.weight", "/backbone/layer2/0/conv1/Conv"),
            ("cbam_layer3.spatial_attn.conv.weight", "/cbam_layer3/spatial_attn/conv/Conv"),
            ("backbone.fc.bias", "/backbone/fc/Gemm"),
        ] {
            let worst = found(|weights| weights[weight].mapv_inplace(|value| 1.5 * value - 0.1)).remove(0);
            assert_eq!(worst.node, node);
            assert!(worst.added > 0.01, "{worst:?}");
        }
    }

    #[test]
    fn not_a_number_is_the_worst() {
        let all = found(|weights| weights["backbone.layer4.1.bn2.bias"][[3]] = f32::NAN);
        assert_eq!((all[0].node.as_str(), all[0].added), ("/backbone/layer4/1/conv2/Conv", f64::INFINITY));
        assert!(all[1].added.is_finite(), "what follows only passes it on: {:?}", all[1]);
    }
}
