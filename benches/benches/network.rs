//! Latency of ResNet18 at 32x32, with CBAM and without.
//!
//! It runs on libtorch, on ONNX Runtime's operators, and on the CPU on ONNX Runtime with our operator for attention. Run
//! `cargo bench -p benches --bench network`; `BENCH_DEVICE=cuda` measures on a GPU.

#![allow(missing_docs)] // a program

use std::cell::OnceCell;
use std::hint::black_box;

use anyhow::Result;
use benches::device::{self, Load};
use benches::{Case, Engine};
use criterion::{BenchmarkId, Criterion};
use ferronnx_models::layers::Attention;
use ferronnx_models::networks::{Architecture, Classifier};

fn main() -> Result<()> {
    let device = device::open()?;
    let mut criterion = Criterion::default().configure_from_args();
    for load in Load::all(device) {
        let mut group = criterion.benchmark_group(format!("network/{load}"));
        for (name, attention) in [("cbam", Some(Attention::default().into())), ("none", None)] {
            let network = Classifier::new(&Architecture { attention, ..Architecture::default() })?;
            // Made for the first engine that is not filtered out.
            let case = OnceCell::new();
            for &engine in Engine::on(device) {
                group.bench_function(BenchmarkId::new(engine.name(), name), |bencher| {
                    let case = case
                        .get_or_init(|| Case::new(&network, [3, 32, 32], load).expect("the engines agree"));
                    let mut ready = case.ready(engine).expect("the engine starts");
                    bencher.iter(|| black_box(ready.run().expect("the engine runs")));
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
