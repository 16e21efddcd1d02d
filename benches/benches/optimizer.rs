//! Time of an Adam step over the parameters of ResNet18-CBAM: our optimizer and libtorch's C++ optimizer.

#![allow(missing_docs)] // criterion's macros

use criterion::{Criterion, criterion_group, criterion_main};
use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_models::shapes;
use ferronnx_train::optimizer::{Optimizer, Settings};
use ferronnx_train::params::Params;
use tch::{COptimizer, Device, Kind};

const THREADS: i32 = 2;

/// Parameters of ResNet18-CBAM, each with a gradient.
fn parameters() -> Params {
    let network = Classifier::new(&Architecture::default()).expect("the default network");
    let described = shapes::describe(&network, &[1, 3, 32, 32]).expect("it has shapes").params;
    let params = Params::initialise(&described, 1, Device::Cpu).expect("libtorch runs");
    for (_, tensor) in params.trainable() {
        tensor.set_requires_grad(true).square().sum(Kind::Float).backward();
    }
    params
}

fn adam(criterion: &mut Criterion) {
    tch::set_num_threads(THREADS);
    let mut group = criterion.benchmark_group("adam");
    let params = parameters();
    let Settings { betas: [beta1, beta2], eps, .. } = Settings::default();
    let mut theirs = COptimizer::adam(1e-3, beta1, beta2, 0.0, eps, false).expect("libtorch has Adam");
    for (_, tensor) in params.trainable() {
        theirs.add_parameters(tensor, 0).expect("a parameter");
    }
    group.bench_function("libtorch", |bencher| bencher.iter(|| theirs.step().expect("a step")));
    let params = parameters();
    let mut ours = Optimizer::new(Settings::default());
    for (name, tensor) in params.trainable() {
        ours.add(name, tensor, 0).expect("a parameter");
    }
    group.bench_function("ours", |bencher| bencher.iter(|| ours.step(&[1e-3], None, None).expect("a step")));
    group.finish();
}

criterion_group!(benches, adam);
criterion_main!(benches);
