//! Latency of channel attention, spatial attention and CBAM at the shapes of the four stages.
//!
//! Each layer runs on libtorch, on ONNX Runtime's operators and on our operator. Copying the layer's input is measured
//! too, as a lower bound. Run `cargo bench -p benches --bench attention`, or `cargo xtask bench` for a table and a plot.

#![allow(missing_docs)] // criterion's macros

use std::hint::black_box;

use benches::{Case, Engine, LOADS, Layer, STAGES, copying};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn attention(criterion: &mut Criterion) {
    for (stage, item) in (1..).zip(STAGES) {
        for (name, layer) in Layer::all(item[0]) {
            let mut group = criterion.benchmark_group(format!("{name}/stage{stage}"));
            for (batch, threads) in LOADS {
                let case = Case::new(&layer, item, batch, threads).expect("the engines agree");
                for engine in Engine::ALL {
                    let id = BenchmarkId::new(engine.name(), format!("batch{batch}/threads{threads}"));
                    group.bench_function(id, |bencher| {
                        let ready = case.ready(engine).expect("the engine starts");
                        bencher.iter(|| black_box(ready.run().expect("the engine runs")));
                    });
                }
            }
            group.finish();
        }
    }
}

fn copying(criterion: &mut Criterion) {
    for (stage, [channels, height, width]) in (1..).zip(STAGES) {
        let mut group = criterion.benchmark_group(format!("copy/stage{stage}"));
        for (batch, threads) in LOADS {
            let id = BenchmarkId::new("memory", format!("batch{batch}/threads{threads}"));
            let values = batch * channels * height * width;
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|times| copying::time(values, threads, times));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, attention, copying);
criterion_main!(benches);
