//! Latency of ResNet18 at 32x32, with CBAM and without.
//!
//! It runs on libtorch, on ONNX Runtime's operators, and on ONNX Runtime with our operator for attention. Run
//! `cargo bench -p benches --bench network`.

#![allow(missing_docs)] // criterion's macros

use std::hint::black_box;

use benches::{Case, Engine, LOADS};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ferronnx_models::layers::Attention;
use ferronnx_models::resnet::{Architecture, ResNet18};

fn network(criterion: &mut Criterion) {
    for (batch, threads) in LOADS {
        let mut group = criterion.benchmark_group(format!("network/batch{batch}/threads{threads}"));
        for (name, attention) in [("cbam", Some(Attention::default())), ("none", None)] {
            let architecture = Architecture { attention, ..Architecture::default() };
            let network = ResNet18::new(&architecture).expect("the architecture is sound");
            let case = Case::new(&network, [3, 32, 32], batch, threads).expect("the engines agree");
            for engine in Engine::ALL {
                group.bench_function(BenchmarkId::new(engine.name(), name), |bencher| {
                    let ready = case.ready(engine).expect("the engine starts");
                    bencher.iter(|| black_box(ready.run().expect("the engine runs")));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, network);
criterion_main!(benches);
