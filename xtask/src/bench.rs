//! `cargo xtask bench`: Criterion's measurements of attention as JSON, a Markdown table and a plot.

mod measured;
mod plot;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::setup;
use crate::steps::Steps;
use crate::workspace::{cargo, root, run as run_command, short};
use measured::Measured;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench                   takes 15 minutes, and 15 more for the first build
  cargo xtask bench --seconds 5       measure longer, for steadier medians
  cargo bench -p benches -- cbam      measure one layer with Criterion alone

Run nothing else on the machine meanwhile.")]
pub struct BenchArgs {
    /// Time to measure each case for
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    seconds: f64,

    /// Write the results again without measuring
    #[arg(long)]
    report: bool,
}

/// Latency of one attention layer on one engine.
#[derive(Debug, Serialize)]
struct Row {
    layer: &'static str,
    stage: usize,
    batch: usize,
    threads: usize,
    engine: &'static str,
    median_us: f64,
    /// Least number of bytes that the layer has to read and write.
    bytes: usize,
    /// Time to copy that many bytes on this machine with as many threads, in microseconds.
    bound_us: f64,
}

/// Latency of the whole network on one engine.
#[derive(Debug, Serialize)]
struct NetworkRow {
    attention: &'static str,
    batch: usize,
    threads: usize,
    engine: &'static str,
    median_us: f64,
}

/// Engines, by the names that Criterion's results have.
const ENGINES: [&str; 3] = ["libtorch", "onnxruntime", "onnxruntime-fused"];
/// Channels, height and width of the four stages at 32x32.
const STAGES: [[usize; 3]; 4] = [[64, 32, 32], [128, 16, 16], [256, 8, 8], [512, 4, 4]];
const BATCHES: [usize; 2] = [1, 16];
const THREADS: [usize; 2] = [1, 2];

/// Layers, each with the least number of reads and writes of every value.
const LAYERS: [(&str, usize); 3] = [("channel", 3), ("spatial", 3), ("cbam", 4)];

/// Runs `cargo xtask bench`.
pub fn run(args: &BenchArgs) -> Result<()> {
    let folder = root().join("target/bench");
    let home = folder.join("criterion");
    fs::create_dir_all(&home).with_context(|| short(&home))?;
    let mut steps = Steps::new(if args.report { 1 } else { 3 });
    if !args.report {
        steps.run("setup", setup::ensure)?;
        steps.run("measure", || measure(&home, args.seconds))?;
    }
    steps.run("report", || report(&folder, &Measured::new(&home)))
}

fn measure(home: &Path, seconds: f64) -> Result<()> {
    let (measure, warm_up) = (seconds.to_string(), (seconds / 3.0).to_string());
    let mut bench = cargo(&["bench", "--package=benches", "--bench=attention", "--bench=network", "--"]);
    bench.args(["--measurement-time", &measure, "--warm-up-time", &warm_up, "--sample-size", "30"]);
    run_command(bench.env("CRITERION_HOME", home))
}

fn report(folder: &Path, measured: &Measured<'_>) -> Result<()> {
    let (rows, network) = (rows(measured)?, network(measured)?);
    let table = table::markdown(&rows, &network);
    let write = |name: &str, content: &str| {
        let path = folder.join(name);
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, content.as_bytes())?;
        file.persist(&path)?;
        println!("{}", short(&path));
        anyhow::Ok(())
    };
    println!("{table}");
    write("attention.json", &serde_json::to_string_pretty(&rows)?)?;
    write("network.json", &serde_json::to_string_pretty(&network)?)?;
    write("attention.md", &table)?;
    write("attention.svg", &plot::svg(&rows)?)
}

/// All combinations of batch size and threads.
fn loads() -> impl Iterator<Item = (usize, usize)> {
    BATCHES.into_iter().flat_map(|batch| THREADS.map(|threads| (batch, threads)))
}

fn rows(measured: &Measured<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (layer, moves) in LAYERS {
        for (stage, [channels, height, width]) in (1..).zip(STAGES) {
            for (batch, threads) in loads() {
                let case = format!("batch{batch}_threads{threads}");
                // A copy reads each value once, and writes it once.
                let copy = measured.median_us(&format!("copy_stage{stage}/memory/{case}"))?;
                for engine in ENGINES {
                    rows.push(Row {
                        layer,
                        stage,
                        batch,
                        threads,
                        engine,
                        median_us: measured.median_us(&format!("{layer}_stage{stage}/{engine}/{case}"))?,
                        bytes: moves * batch * channels * height * width * size_of::<f32>(),
                        bound_us: moves as f64 / 2.0 * copy,
                    });
                }
            }
        }
    }
    Ok(rows)
}

fn network(measured: &Measured<'_>) -> Result<Vec<NetworkRow>> {
    let mut rows = Vec::new();
    for (batch, threads) in loads() {
        for (engine, attention) in
            ENGINES.into_iter().flat_map(|engine| ["cbam", "none"].map(|attention| (engine, attention)))
        {
            let case = format!("network_batch{batch}_threads{threads}/{engine}/{attention}");
            rows.push(NetworkRow {
                attention,
                batch,
                threads,
                engine,
                median_us: measured.median_us(&case)?,
            });
        }
    }
    Ok(rows)
}
