//! Losses against PyTorch's values and against each other.

use tch::{Device, Kind, Tensor};

use super::*;
use crate::data::batches::{Batch, Mixed};

fn logits() -> Tensor {
    Tensor::from_slice(&[2.0_f32, -1.0, 0.5, 0.0, 3.0, -2.0, -0.5, 0.25, 1.5, 1.0, 1.0, -1.0]).view([4, 3])
}

fn batch(labels: Tensor, mixed: Option<Mixed>) -> Batch {
    let images = Tensor::zeros([4, 3, 1, 1], (Kind::Float, Device::Cpu));
    Batch { images, labels, mixed, indices: vec![0, 1, 2, 3], skipped: 0, step: 0 }
}

fn classes() -> Batch {
    batch(Tensor::from_slice(&[0_i64, 1, 0, 2]), None)
}

fn sets() -> Batch {
    let targets = [1.0_f32, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    batch(Tensor::from_slice(&targets).view([4, 3]), None)
}

fn loss(gamma: Option<f64>, smoothing: f64, weights: bool) -> Loss {
    let weights = weights.then(|| Tensor::from_slice(&[0.5_f32, 2.0, 4.0]));
    Loss { gamma, smoothing, weights }
}

fn value(loss: &Loss, batch: &Batch) -> f64 {
    loss.mean(&logits(), &batch.targets()).unwrap().double_value(&[])
}

/// Values of PyTorch 2.13: `cross_entropy`, `binary_cross_entropy_with_logits`; the focal loss is written out there, and
/// for several labels as torchvision's `sigmoid_focal_loss`.
#[test]
fn losses_are_those_of_pytorch() {
    let close = |found: f64, right: f64| assert!((found - right).abs() < 1e-6, "{found} {right}");
    for (smoothing, weights, cross_entropy, binary) in [
        (0.0, false, 1.351_718_018, 0.560_345_331),
        (0.0, true, 1.777_299_536, 1.018_992_848),
        (0.1, false, 1.399_634_685, 0.594_720_337),
        (0.1, true, 1.857_401_337, 1.063_938_027),
    ] {
        let loss = loss(None, smoothing, weights);
        close(value(&loss, &classes()), cross_entropy);
        close(value(&loss, &sets()), binary);
    }
    for (gamma, plain, weighted, sigmoid) in [
        (0.5, 1.257_862_012, 1.697_001_233, 0.411_572_262),
        (2.0, 1.089_201_301, 1.521_247_839, 0.206_691_406),
    ] {
        close(value(&loss(Some(gamma), 0.0, false), &classes()), plain);
        close(value(&loss(Some(gamma), 0.0, true), &classes()), weighted);
        close(value(&loss(Some(gamma), 0.0, false), &sets()), sigmoid);
    }
}

#[test]
fn without_focus_the_focal_loss_is_the_cross_entropy() {
    for (smoothing, weights) in [(0.0, false), (0.1, false), (0.0, true), (0.1, true)] {
        for batch in [classes(), sets()] {
            let plain = value(&loss(None, smoothing, weights), &batch);
            let focal = value(&loss(Some(0.0), smoothing, weights), &batch);
            assert!((plain - focal).abs() < 1e-6, "{smoothing} {weights}: {plain} {focal}");
        }
    }
}

#[test]
fn mixed_targets_share_the_loss() {
    let other = Tensor::from_slice(&[2_i64, 2, 1, 0]);
    for loss in [loss(None, 0.1, true), loss(Some(2.0), 0.0, true)] {
        let mixed = batch(
            classes().labels,
            Some(Mixed { labels: other.shallow_clone(), shares: Tensor::from_slice(&[0.75_f32, 0.25]) }),
        );
        let expected =
            0.75 * value(&loss, &classes()) + 0.25 * value(&loss, &batch(other.shallow_clone(), None));
        assert!((value(&loss, &mixed) - expected).abs() < 1e-6);
    }
    // For several labels that is the loss of the mixed targets.
    let (own, other) = (sets().labels, sets().labels.roll([1], [0]));
    for loss in [loss(None, 0.1, true), loss(Some(2.0), 0.1, true)] {
        let mixed = batch(
            own.shallow_clone(),
            Some(Mixed { labels: other.shallow_clone(), shares: Tensor::from_slice(&[0.75_f32, 0.25]) }),
        );
        let targets = &own * 0.75 + &other * 0.25;
        assert!((value(&loss, &mixed) - value(&loss, &batch(targets, None))).abs() < 1e-6);
    }
}

#[test]
fn gradients_are_finite_where_the_network_is_sure() {
    let sure = Tensor::from_slice(&[60.0_f32, -60.0, 0.0, -60.0, 60.0, 0.0]).view([2, 3]);
    for gamma in [0.5, 1.0, 2.0] {
        for labels in [
            Tensor::from_slice(&[0_i64, 0]),
            Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0]).view([2, 3]),
        ] {
            let logits = sure.detach_copy().set_requires_grad(true);
            let loss = loss(Some(gamma), 0.1, true).mean(&logits, &batch(labels, None).targets()).unwrap();
            loss.backward();
            let gradient = Vec::<f32>::try_from(logits.grad().flatten(0, -1)).unwrap();
            assert!(gradient.iter().all(|value| value.is_finite()), "{gamma}: {gradient:?}");
        }
    }
}

#[test]
fn settings_without_an_effect_are_refused() {
    let settings = |text: &str| toml::from_str::<LossSettings>(text);
    let check = |text: &str| settings(text).unwrap().check().map_err(|error| error.to_string());
    assert_eq!(check(""), Ok(()));
    assert_eq!(check("name = \"focal\"\ngamma = 0.5\nclass_weights = \"balanced\""), Ok(()));
    assert!(check("gamma = 2.0").unwrap_err().contains("belongs to the focal loss"));
    assert!(check("name = \"focal\"\ngamma = -1.0").unwrap_err().contains("at least 0"));
    assert!(check("class_weights = { cat = 0.0 }").unwrap_err().contains("loss.class_weights.cat"));
    let large = check("class_weights = { cat = 1e300 }").unwrap_err();
    assert!(large.contains("at most 1000000, not 1e300"), "{large}");
    let named = settings("class_weights = { cat = 2.0, \"a dog\" = 3 }").unwrap();
    let Some(ClassWeights::Named(weights)) = &named.class_weights else { panic!("{named:?}") };
    assert_eq!(weights["a dog"], 3.0);
    assert_eq!(settings(&toml::to_string(&named).unwrap()).unwrap(), named);
    let error = settings("class_weights = \"even\"").unwrap_err().to_string();
    assert!(error.contains("\"balanced\", or a table"), "{error}");
    assert!(settings("name = \"hinge\"").is_err() && settings("alpha = 1").is_err());
}
