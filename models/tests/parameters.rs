//! Compares names, shapes and initial distributions of parameters with PyTorch's.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeMap;

use ferronnx_models::layers::Init;
use ferronnx_models::networks::{Architecture, Classifier, Network, Stem};
use ferronnx_models::shapes::describe;
use serde::Deserialize;

/// Parameter of a newly built reference network.
#[derive(Deserialize)]
struct Reference {
    shape: Vec<usize>,
    std: f64,
    mean: f64,
    max_abs: f64,
}

fn compare(variant: &str, architecture: Architecture) {
    let packed = flate2::read::GzDecoder::new(&include_bytes!("goldens/parameters.json.gz")[..]);
    let mut variants: BTreeMap<String, BTreeMap<String, Reference>> =
        serde_json::from_reader(packed).unwrap();
    let mut reference = variants.remove(variant).unwrap();
    let network = Classifier::new(&architecture).unwrap();
    for param in describe(&network, &[1, 3, 64, 64]).unwrap().params {
        let name = &param.name;
        let drawn = reference.remove(name).unwrap_or_else(|| panic!("{variant}: PyTorch has no {name}"));
        assert_eq!(param.shape, drawn.shape, "{variant}: {name}");
        let count = param.shape.iter().product::<usize>() as f64;
        // A sample's standard deviation and mean scatter by about these around the distribution's.
        let (scatter, error) = match param.init {
            Init::Constant(value) => {
                assert_eq!((drawn.mean, drawn.std), (value, 0.0), "{variant}: {name}");
                continue;
            }
            Init::Uniform { bound } => {
                assert!(drawn.max_abs <= bound * (1.0 + 1e-6), "{variant}: {name} exceeds {bound}");
                (0.45 / count.sqrt(), drawn.std / (bound / 3f64.sqrt()) - 1.0)
            }
            Init::Normal { std } => {
                assert!(drawn.max_abs > 2.0 * std, "{variant}: {name} has no tails");
                (0.71 / count.sqrt(), drawn.std / std - 1.0)
            }
        };
        assert!(error.abs() < 5.0 * scatter, "{variant}: {name} is off by {error} with scatter {scatter}");
        assert!(
            drawn.mean.abs() < 5.0 * drawn.std / count.sqrt(),
            "{variant}: {name} has mean {}",
            drawn.mean
        );
    }
    assert!(reference.is_empty(), "{variant}: missing {:?}", reference.keys());
}

#[test]
fn cifar_stem() {
    compare("cifar", Architecture::default());
}

#[test]
fn imagenet_stem() {
    compare("imagenet", Architecture { stem: Stem::Imagenet, ..Architecture::default() });
}

#[test]
fn without_attention() {
    compare("plain", Architecture { attention: None, ..Architecture::default() });
}

#[test]
fn mobilenet() {
    let network = Network::MobilenetV3Small;
    compare(
        "mobilenet",
        Architecture { network, stem: Stem::Imagenet, attention: None, ..Architecture::default() },
    );
}
