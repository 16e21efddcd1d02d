//! Compares `infer bench` with a bare loop around ONNX Runtime.
//!
//! Usage: `bench_overhead target/release/infer MODEL.onnx`. The bare loop uses `ort` alone, with one input tensor and
//! the session settings of `infer`. Both take turns. Prints both medians for each batch size, and their ratio.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use benches::median;
use ferronnx_models::testing;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{TensorRef, ValueType};
use serde_json::Value;

const THREADS: usize = 2;
const BATCHES: [usize; 2] = [1, 8];
const ROUNDS: usize = 7;
const SECONDS: f64 = 2.0;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [infer, model] = &arguments[..] else { bail!("usage: bench_overhead INFER MODEL.onnx") };
    let library = env::var_os("ORT_DYLIB_PATH").context("set ORT_DYLIB_PATH to ONNX Runtime's library")?;
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    let mut session = session(&environment, model)?;
    for batch in BATCHES {
        let (mut bare, mut benched) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(bare_loop(&mut session, batch)?);
            benched.push(bench(infer, model, batch)?);
        }
        let (bare, benched) = (median(bare), median(benched));
        #[allow(clippy::print_stdout)] // the answer
        {
            println!("batch {batch}  bare {bare:.3} ms  infer bench {benched:.3} ms  {:.3}x", benched / bare);
        }
    }
    Ok(())
}

fn session(environment: &Environment, model: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_intra_threads(THREADS)?
        .commit_from_file(model)
}

/// Median latency of the bare loop, in milliseconds.
fn bare_loop(session: &mut Session, batch: usize) -> Result<f64> {
    let ValueType::Tensor { shape, .. } = session.inputs()[0].dtype() else { bail!("not a tensor") };
    let sizes: Vec<usize> = shape.iter().map(|&size| usize::try_from(size).unwrap_or(batch)).collect();
    let input = testing::input(&sizes);
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs_f64(SECONDS) {
        let started = Instant::now();
        session.run(ort::inputs![TensorRef::from_array_view(input.view())?])?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}

/// Median latency that `infer bench` reports, in milliseconds.
fn bench(infer: &Path, model: &Path, batch: usize) -> Result<f64> {
    let output = Command::new(infer)
        .args(["bench", "--device", "cpu", "--attention", "stock", "--format", "json", "--model"])
        .arg(model)
        .args(["--threads", &THREADS.to_string(), "--batch", &batch.to_string(), "--no-spinning"])
        .args(["--seconds", &SECONDS.to_string()])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout)?;
    found["runs"][0]["latency_ms"]["p50"].as_f64().context("a median")
}
