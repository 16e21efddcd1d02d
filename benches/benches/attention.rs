//! Latency of channel attention, spatial attention and CBAM at the four stages' shapes, under libtorch and ONNX
//! Runtime on the CPU: `cargo bench -p benches`.

#![allow(missing_docs)] // criterion's macros

use std::hint::black_box;

use benches::{Layer, Peers, STAGES};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const THREADS: usize = 1;

fn attention(criterion: &mut Criterion) {
    for (stage, item) in (1..).zip(STAGES) {
        for (name, layer) in Layer::all(item[0]) {
            let mut group = criterion.benchmark_group(format!("{name}/stage{stage}"));
            for batch in [1, 16] {
                let peers = Peers::new(&layer, item, batch, THREADS).expect("both engines agree");
                group.bench_function(BenchmarkId::new("libtorch", batch), |bencher| {
                    bencher.iter(|| black_box(peers.libtorch().expect("libtorch runs")));
                });
                group.bench_function(BenchmarkId::new("onnxruntime", batch), |bencher| {
                    bencher.iter(|| black_box(peers.onnxruntime().expect("ONNX Runtime runs")));
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, attention);
criterion_main!(benches);
