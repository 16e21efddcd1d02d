//! Evaluation of a network: loss, accuracy and predictions are those of the logits it keeps.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use ferronnx_infer::Preprocessor;
use ferronnx_models::card::Preprocessing;
use ferronnx_models::layers::{Conv2d, Linear};
use ferronnx_models::{Module, Ops, Reduce, shapes};
use ferronnx_train::data::batches::Loader;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::images::{ImageSet, Loading};
use ferronnx_train::params::Params;
use ferronnx_train::trainer::evaluate;
use tch::Device;

/// A convolution, a pool and a head.
struct Tiny(Conv2d, Linear);

impl Module for Tiny {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let x = ops.relu(&ops.conv2d(x, &self.0)?)?;
        ops.linear(&ops.reduce(&x, Reduce::Mean, &[2, 3], false)?, &self.1)
    }
}

#[test]
fn every_image_keeps_its_logits_over_several_batches() {
    let (_dir, data) = common::colour_set();
    let preprocessor = Preprocessor::new(&Preprocessing::for_size(8));
    let once = ImageFolder::scan(&data).unwrap().train;
    let samples: Vec<_> = once.iter().cycle().take(3 * once.len()).cloned().collect();
    let set = ImageSet::load(samples, &preprocessor, Loading::new(Device::Cpu), || ()).unwrap();
    let network = Tiny(Conv2d { padding: 1, ..Conv2d::new("conv", 3, 4, 3) }, Linear::new("fc", 4, 3));
    let described = shapes::describe(&network, &[1, 3, 8, 8]).unwrap().params;
    let params = Params::initialise(&described, 3, Device::Cpu).unwrap();

    let found = evaluate(&network, &params, Loader::new(&set, &preprocessor, Device::Cpu)).unwrap();
    assert_eq!(found.logits.dim(), (set.len(), 3));
    assert!(set.len() > 100, "more than a batch of evaluation");
    let (mut loss, mut right) = (0.0, 0);
    for (prediction, row) in found.predictions.iter().zip(found.logits.rows()) {
        let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
        let label = set.label(prediction.index);
        loss -= (f64::from(row[label]).exp() / sum).ln() / set.len() as f64;
        right += usize::from(prediction.class == label);
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(row[prediction.class], largest);
        assert!((f64::from(largest).exp() / sum - f64::from(prediction.probability)).abs() < 1e-6);
    }
    assert!((loss - found.loss).abs() < 1e-6, "{loss} {}", found.loss);
    assert!((right as f64 / set.len() as f64 - found.accuracy).abs() < 1e-9);
}
