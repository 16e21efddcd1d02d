//! Measures the share of attention in the latency of the whole network.
//!
//! The network with attention and the one without take turns, so that noise of the machine affects both. Usage:
//! `attention_share [ROUNDS]`, with `ORT_DYLIB_PATH` set or from the root folder of the workspace. `BENCH_DEVICE=cuda`
//! measures on a GPU. For the share in training, run the program `training` with `--attention on` and `off`.

use std::env;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use benches::device::{self, Load};
use benches::{Case, Engine, median};
use ferronnx_models::layers::Attention;
use ferronnx_models::networks::{Architecture, Classifier};

fn main() -> Result<()> {
    let device = device::open()?;
    let rounds = env::args().nth(1).map_or(Ok(400), |rounds| rounds.parse()).context("ROUNDS is a number")?;
    let network = |attention| Classifier::new(&Architecture { attention, ..Architecture::default() });
    let (with, without) = (network(Some(Attention::default().into()))?, network(None)?);
    println!("| load | engine | with, ms | without, ms | share |\n|---|---|---|---|---|");
    for load in Load::all(device) {
        let case = |network| Case::new(network, [3, 32, 32], load);
        let (with, without) = (case(&with)?, case(&without)?);
        for &engine in Engine::on(device) {
            let mut both = [with.ready(engine)?, without.ready(engine)?];
            let mut times = [Vec::new(), Vec::new()];
            for round in 0..rounds / load.batch + 20 {
                for (network, times) in both.iter_mut().zip(&mut times) {
                    let start = Instant::now();
                    black_box(network.run()?);
                    if round >= 10 {
                        times.push(start.elapsed().as_secs_f64() * 1e3);
                    }
                }
            }
            let [with, without] = times.map(median);
            let (name, share) = (engine.name(), 100.0 * (1.0 - without / with));
            println!("| {load} | {name} | {with:.2} | {without:.2} | {share:.1} % |");
        }
    }
    Ok(())
}
