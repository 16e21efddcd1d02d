//! Latency of channel attention, spatial attention and CBAM at the shapes of the four stages.
//!
//! Each layer runs on libtorch, on ONNX Runtime's operators and, on the CPU, on our operator. Copying the layer's input is
//! measured too, as a lower bound; on CUDA also to the device and back. Run `cargo bench -p benches --bench attention`, or
//! `cargo xtask bench` for a table and a plot. `BENCH_DEVICE=cuda` measures on a GPU.

#![allow(missing_docs)] // a program

use std::cell::OnceCell;
use std::hint::black_box;

use anyhow::Result;
use benches::copying::{self, CudaCopy};
use benches::device::{self, Load};
use benches::{Case, Engine, Layer, STAGES};
use criterion::{BenchmarkId, Criterion, Throughput};
use tch::Device;

/// Floats of a copy that no cache holds: 1 GiB.
const LARGE: usize = 1 << 28;

fn main() -> Result<()> {
    let device = device::open()?;
    let mut criterion = Criterion::default().configure_from_args();
    attention(&mut criterion, device);
    match device {
        Device::Cuda(_) => copying_on_cuda(&mut criterion, device),
        _ => copying_in_memory(&mut criterion),
    }
    criterion.final_summary();
    Ok(())
}

fn attention(criterion: &mut Criterion, device: Device) {
    for (stage, item) in (1..).zip(STAGES) {
        for (name, layer) in Layer::all(item[0]) {
            let mut group = criterion.benchmark_group(format!("{name}/stage{stage}"));
            for load in Load::all(device) {
                // Made for the first engine that is not filtered out.
                let case = OnceCell::new();
                for &engine in Engine::on(device) {
                    group.bench_function(BenchmarkId::new(engine.name(), load), |bencher| {
                        let case =
                            case.get_or_init(|| Case::new(&layer, item, load).expect("the engines agree"));
                        let mut ready = case.ready(engine).expect("the engine starts");
                        bencher.iter(|| black_box(ready.run().expect("the engine runs")));
                    });
                }
            }
            group.finish();
        }
    }
}

fn copying_in_memory(criterion: &mut Criterion) {
    for (stage, [channels, height, width]) in (1..).zip(STAGES) {
        let mut group = criterion.benchmark_group(format!("copy/stage{stage}"));
        for load in Load::all(Device::Cpu) {
            let values = load.batch * channels * height * width;
            group.bench_function(BenchmarkId::new("memory", load), |bencher| {
                bencher.iter_custom(|times| copying::time(values, load.threads, times));
            });
        }
        group.finish();
    }
}

fn copying_on_cuda(criterion: &mut Criterion, device: Device) {
    let mut copy = |group: &str, load: &str, kind: CudaCopy, values: usize| {
        let mut group = criterion.benchmark_group(group);
        // A copy on the device reads each byte once and writes it once.
        let moves = if kind == CudaCopy::Device { 2 } else { 1 };
        group.throughput(Throughput::Bytes((moves * values * size_of::<f32>()) as u64));
        group.bench_function(BenchmarkId::new(kind.name(), load), |bencher| {
            bencher.iter_custom(|times| kind.time(values, device, times).expect("libtorch copies"));
        });
        group.finish();
    };
    copy("copy/large", "cuda", CudaCopy::Device, LARGE);
    for (stage, [channels, height, width]) in (1..).zip(STAGES) {
        for load in Load::all(device) {
            for kind in CudaCopy::ALL {
                let values = load.batch * channels * height * width;
                copy(&format!("copy/stage{stage}"), &load.to_string(), kind, values);
            }
        }
    }
}
