//! Latency of channel attention, spatial attention and CBAM at the four stages' shapes on the CPU, under libtorch, ONNX
//! Runtime and, for whole CBAM, our operator for it: `cargo bench -p benches`.

#![allow(missing_docs)] // criterion's macros

use std::hint::black_box;

use benches::{Layer, Peers, STAGES};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const THREADS: [usize; 2] = [1, 2];

fn attention(criterion: &mut Criterion) {
    for (stage, item) in (1..).zip(STAGES) {
        for (name, layer) in Layer::all(item[0]) {
            let mut group = criterion.benchmark_group(format!("{name}/stage{stage}"));
            for (batch, threads) in
                [1, 16].into_iter().flat_map(|batch| THREADS.map(|threads| (batch, threads)))
            {
                let peers = Peers::new(&layer, item, batch, threads).expect("the engines agree");
                let case = format!("batch{batch}/threads{threads}");
                group.bench_function(BenchmarkId::new("libtorch", &case), |bencher| {
                    bencher.iter(|| black_box(peers.libtorch().expect("libtorch runs")));
                });
                group.bench_function(BenchmarkId::new("onnxruntime", &case), |bencher| {
                    bencher.iter(|| black_box(peers.onnxruntime().expect("ONNX Runtime runs")));
                });
                if !matches!(layer, Layer::Cbam(_)) {
                    continue;
                }
                group.bench_function(BenchmarkId::new("onnxruntime-fused", &case), |bencher| {
                    bencher.iter(|| black_box(peers.fused().expect("our operator runs")));
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, attention);
criterion_main!(benches);
