//! Where a file departs from libtorch: every value in its middle, compared.

use std::collections::HashMap;

use infer::Session;
use infer::preprocess::{Batch, Preprocessor};
use infer::session::Options;
use models::Module;
use models::card::{InputForm, ModelCard};
use models::onnx::passes::{self, Exposed};
use models::onnx::{self, Graph, Interface};
use ndarray::ArrayD;
use tch::Tensor;

use super::{ExportError, Pictures};
use crate::eager::Eager;
use crate::error::TorchError;
use crate::params::{Params, to_array, to_tensor};
use crate::trainer::TrainError;

/// Pictures that are looked at together: all values of all of them are in memory.
const BATCH: usize = 4;

/// How far a value of the file is from libtorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The node that computes it.
    pub node: String,
    /// Root mean square of the differences, relative to that of the values.
    pub relative: f64,
    /// By how much that is more than in the values that the node works on: what went wrong here, and not before.
    pub added: f64,
    /// Largest difference.
    pub max_difference: f64,
    /// Largest magnitude of libtorch's values.
    pub max_value: f64,
}

/// Sums over pictures.
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
            // `max` would pass over what is not a number.
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

/// Compares every value of `graph` that has a name in the network, worst first: by what each node adds.
pub(super) fn drift(
    network: &impl Module,
    params: &Params,
    card: &ModelCard,
    (mut graph, interface): (Graph, &Interface),
    input: InputForm,
    pictures: &Pictures,
) -> Result<Vec<Drift>, ExportError> {
    let preprocessor = Preprocessor::new(&card.preprocessing);
    let mut batches = pictures.images.chunks(BATCH).map(|images| {
        let Batch::Float(floats) = preprocessor.batch(images, InputForm::Float) else { unreachable!() };
        let reference = reference(network, params, interface, &floats.into_dyn())?;
        Ok::<_, ExportError>((preprocessor.batch(images, input), reference))
    });
    let Some(first) = batches.next().transpose()? else { return Ok(Vec::new()) };
    let shapes: Vec<_> = first.1.iter().map(|(name, value)| (name.clone(), value.shape().to_vec())).collect();
    let exposed = passes::expose(&mut graph, &shapes);

    let cpu = Options { device: infer::Device::Cpu, ..Options::default() };
    let mut session = Session::from_bytes(&onnx::encode(graph, &[]), &cpu)?;
    let outputs: Vec<&str> = exposed.iter().map(|exposed| exposed.output.as_str()).collect();
    let mut sums = vec![Sums::default(); exposed.len()];
    for batch in std::iter::once(Ok(first)).chain(batches) {
        let (input, reference) = batch?;
        let found = session.fetch(&input, &outputs)?;
        for ((exposed, found), sums) in exposed.iter().zip(&found).zip(&mut sums) {
            sums.add(found, &reference[&exposed.value]);
        }
    }
    Ok(ranked(&exposed, &sums))
}

/// Libtorch's values, by their names in the graph.
fn reference(
    network: &impl Module,
    params: &Params,
    interface: &Interface,
    images: &ArrayD<f32>,
) -> Result<HashMap<String, ArrayD<f32>>, ExportError> {
    let _guard = tch::no_grad_guard();
    let values = onnx::values(network, interface, &Eager::eval(params), to_tensor(images)?)
        .map_err(|error| ExportError::Train(TrainError::Recipe(error.to_string())))?;
    let array = |(name, value): (String, std::rc::Rc<Tensor>)| Ok((name, to_array(&value)?));
    values.into_iter().map(array).collect::<Result<_, TorchError>>().map_err(ExportError::from)
}

fn ranked(exposed: &[Exposed], sums: &[Sums]) -> Vec<Drift> {
    let relative: HashMap<&str, f64> =
        exposed.iter().zip(sums).map(|(exposed, sums)| (exposed.value.as_str(), sums.relative())).collect();
    let drift = |(exposed, sums): (&Exposed, &Sums)| {
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
    use models::card::{CARD_FORMAT, Precision, Preprocessing, Provenance};
    use models::layers::Attention;
    use models::onnx::{Opset, trace};
    use models::resnet::{Architecture, ResNet18};
    use models::{Weights, shapes, testing};
    use tch::Device;

    use super::*;

    fn card() -> ModelCard {
        let text = String::new;
        ModelCard {
            format: CARD_FORMAT,
            labels: vec!["a".into(), "b".into()],
            preprocessing: Preprocessing::for_size(16),
            input: InputForm::Float,
            precision: Precision::Fp32,
            observed: Vec::new(),
            architecture: serde_json::Value::Null,
            training: None,
            provenance: Provenance { producer: text(), engine: text(), created: text() },
        }
    }

    /// Drift of a file that was written with `change`d weights.
    fn found(change: impl FnOnce(&mut Weights)) -> Vec<Drift> {
        let architecture =
            Architecture { classes: 2, attention: Some(Attention::default()), ..Architecture::default() };
        let network = ResNet18::new(&architecture).unwrap();
        let mut weights = testing::weights(&network, &[1, 3, 16, 16]).unwrap();
        let described = shapes::describe(&network, &[1, 3, 16, 16]).unwrap().params;
        let params = Params::initialise(&described, 0, Device::Cpu).unwrap();
        params.assign_all(&weights).unwrap();
        change(&mut weights);
        let interface = Interface::new([3, 16, 16]).output("logits");
        let mut graph = trace(&network, &weights, &interface, Opset::default()).unwrap();
        passes::fold_batch_norm(&mut graph);
        let card = card();
        let pictures = Pictures::generated(&Preprocessor::new(&card.preprocessing));
        drift(&network, &params, &card, (graph, &interface), InputForm::Float, &pictures).unwrap()
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
