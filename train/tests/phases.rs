//! Frozen parameters stay the same to the bit, and new ones learn.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::collections::HashSet;

use ferronnx_infer::Preprocessor;
use ferronnx_models::card::Preprocessing;
use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_models::{Weights, shapes};
use ferronnx_train::data::batches::Loader;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::images::{ImageSet, Loading};
use ferronnx_train::params::Params;
use ferronnx_train::recipe::{FrozenBatchNorm, Recipe};
use ferronnx_train::trainer::{Options, Trainer};
use tch::Device;

/// Trains one epoch in each phase of three-phase; returns the weights before, and after each phase.
fn run(new: &[&str], frozen_bn: FrozenBatchNorm) -> Vec<Weights> {
    let (_dir, data) = common::colour_set();
    let preprocessor = Preprocessor::new(&Preprocessing::for_size(8));
    let samples = ImageFolder::scan(&data).unwrap().train;
    let set = ImageSet::load(samples, &preprocessor, Loading::new(Device::Cpu), || ()).unwrap();
    let network = Classifier::new(&Architecture { classes: 3, ..Architecture::default() }).unwrap();
    let described = shapes::describe(&network, &[1, 3, 8, 8]).unwrap().params;
    let params = Params::initialise(&described, 1, Device::Cpu).unwrap();
    let recipe = Recipe { frozen_bn, batch_size: 16, ..Recipe::load("three-phase").unwrap().scaled_to(3) };
    let loader = Loader::new(&set, &preprocessor, Device::Cpu);
    let new: HashSet<String> = params
        .names()
        .filter(|name| new.iter().any(|prefix| name.starts_with(prefix)))
        .map(Into::into)
        .collect();
    let options = Options { seed: 5, ..Options::default() };
    let mut trainer = Trainer::new(&network, &params, &recipe, [loader; 2], &new, options).unwrap();
    let mut weights = vec![params.to_weights().unwrap()];
    for epoch in 0..3 {
        let metrics = trainer.epoch(|_| true).unwrap().unwrap().metrics;
        assert_eq!(metrics.learning_rates["all"], [1e-3, 1e-4, 1e-5][epoch]);
        weights.push(params.to_weights().unwrap());
    }
    weights
}

/// Names of the tensors that differ between two moments.
fn moved(before: &Weights, after: &Weights) -> HashSet<String> {
    before.iter().filter(|(name, values)| after[*name] != **values).map(|(name, _)| name.clone()).collect()
}

fn is_statistic(name: &str) -> bool {
    name.contains(".running_")
}

#[test]
fn frozen_parameters_stand_still_and_the_rest_learns() {
    let weights = run(&["backbone.fc", "cbam_"], FrozenBatchNorm::Auto);
    let first = moved(&weights[0], &weights[1]);
    assert!(
        first.iter().all(|name| name.starts_with("backbone.fc") || name.starts_with("cbam_")),
        "{first:?}"
    );
    assert_eq!(first.len(), 2 + 12, "and statistics stand still, for the stem was loaded");
    let second = moved(&weights[1], &weights[2]);
    let high = ["backbone.fc", "cbam_", "backbone.layer3", "backbone.layer4"];
    assert!(second.iter().all(|name| high.iter().any(|prefix| name.starts_with(prefix))), "{second:?}");
    assert!(
        second.contains("backbone.layer3.0.conv1.weight")
            && second.contains("backbone.layer4.1.bn2.running_var")
    );
    let third = moved(&weights[2], &weights[3]);
    assert_eq!(third.len(), weights[0].len(), "everything moves in the end");
}

#[test]
fn a_new_stem_is_never_frozen_and_statistics_adapt_to_it() {
    let weights = run(&["backbone.fc", "cbam_", "backbone.conv1"], FrozenBatchNorm::Auto);
    let first = moved(&weights[0], &weights[1]);
    assert!(first.contains("backbone.conv1.weight"));
    assert!(first.contains("backbone.layer2.0.bn1.running_mean"), "its statistics adapt");
    let frozen = |name: &String| name.starts_with("backbone.layer") && !is_statistic(name);
    assert!(!first.iter().any(frozen), "{first:?}");
}

#[test]
fn a_recipe_may_hold_statistics_all_the_same() {
    let weights = run(&["backbone.fc", "cbam_", "backbone.conv1"], FrozenBatchNorm::Eval);
    assert!(!moved(&weights[0], &weights[1]).iter().any(|name| is_statistic(name)));
}
