//! Time to augment a batch of 64 images of 32x32 on the CPU, with the augmentation of the three-phase recipe.
//!
//! Run `cargo bench -p benches --bench augment`. For comparison, a training step on such a batch takes about 1.3 s.

#![allow(missing_docs)] // criterion's macros

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ferronnx_train::data::augment::{self, Border, ImageDraw};
use ferronnx_train::recipe::Recipe;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

fn augmentation(criterion: &mut Criterion) {
    let recipe = Recipe::load("three-phase").expect("built in");
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let draws: Vec<_> = (0..64).map(|_| ImageDraw::new(&recipe.augment, 32, &mut rng)).collect();
    let images = Tensor::randint(256, [64, 3, 32, 32], (Kind::Uint8, Device::Cpu));
    let mut group = criterion.benchmark_group("augment");
    for threads in [1, 2] {
        tch::set_num_threads(threads);
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
            bencher.iter(|| black_box(augment::apply(&images, &draws, Border::Zero).expect("libtorch runs")));
        });
    }
    group.finish();
}

criterion_group!(benches, augmentation);
criterion_main!(benches);
