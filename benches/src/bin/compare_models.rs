//! Compares the latency of exported files.
//!
//! Usage: `compare_models BASELINE.onnx OTHER.onnx...`. A pass runs one batch and fetches only the first output, as
//! `infer` does. The files take turns, so that noise of the machine affects all of them. Prints the median of each
//! file and how many times as fast as the baseline it is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use benches::median;
use ferronnx_infer::session::{Input, Options};
use ferronnx_infer::{Device, Session};
use ferronnx_models::onnx::{Dim, Element};
use ferronnx_models::testing;

const THREADS: usize = 2;
const BATCHES: [usize; 2] = [1, 16];
const ROUNDS: usize = 9;
/// Duration of a file's turn.
const TURN: Duration = Duration::from_secs(1);
/// Passes at the start of each turn that are not counted.
const WARM_UP: usize = 3;

fn main() -> Result<()> {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    ensure!(files.len() > 1, "usage: compare_models BASELINE.onnx OTHER.onnx...");
    let options = Options::default().device(Device::Cpu).threads(THREADS);
    let open = |file: &PathBuf| Session::from_file(file, &options);
    let sessions = files.iter().map(open).collect::<ferronnx_infer::Result<Vec<_>>>()?;
    for batch in BATCHES {
        let mut times = vec![Vec::new(); files.len()];
        for _ in 0..ROUNDS {
            for (session, times) in sessions.iter().zip(&mut times) {
                times.extend(turn(session, batch)?);
            }
        }
        let medians: Vec<f64> = times.into_iter().map(median).collect();
        for (file, median) in files.iter().zip(&medians) {
            #[allow(clippy::print_stdout)] // the answer
            {
                println!(
                    "batch {batch:2}  {median:8.3} ms  {:5.2}x  {}",
                    medians[0] / median,
                    file.display()
                );
            }
        }
    }
    Ok(())
}

/// Runs one turn and returns the latency of each pass, in milliseconds.
fn turn(session: &Session, batch: usize) -> Result<Vec<f64>> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Symbol(_) => batch,
    };
    let shape: Vec<usize> = session.input().shape.iter().map(size).collect();
    let floats = testing::input(&shape);
    let bytes = floats.mapv(|value| (64.0 * (value + 2.0)) as u8);
    let input = match session.input().element {
        Element::Uint8 => Input::from(bytes.view()),
        _ => Input::from(floats.view()),
    };
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < TURN || times.len() <= WARM_UP {
        let started = Instant::now();
        session.run(input.clone())?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times.split_off(WARM_UP))
}
