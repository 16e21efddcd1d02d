//! `cargo xtask bench`: Criterion's measurements of attention as JSON, a Markdown table and a plot.

mod measured;
mod plot;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

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
  cargo xtask bench --device cuda     on a GPU, with libtorch and ONNX Runtime for CUDA
  cargo xtask bench --from DIR        tables and plot of what another machine measured (benches/gpu/attention.sh)
  cargo bench -p benches -- cbam      measure one layer with Criterion alone

Run nothing else on the machine meanwhile.")]
pub struct BenchArgs {
    /// Time to measure each case for
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    seconds: f64,

    /// Device to measure: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,

    /// Write the results again without measuring
    #[arg(long)]
    report: bool,

    /// Write the results of Criterion's folder DIR, which came from another machine
    #[arg(long, value_name = "DIR", conflicts_with_all = ["report", "device", "seconds"])]
    from: Option<PathBuf>,
}

/// Latency of one attention layer on one engine, or of a copy of its input.
#[derive(Debug, Clone, Serialize)]
struct Row {
    layer: &'static str,
    stage: usize,
    batch: usize,
    device: &'static str,
    /// Threads on the CPU; none on CUDA.
    threads: Option<usize>,
    engine: &'static str,
    median_us: f64,
    /// Least number of bytes that the layer has to read and write.
    bytes: usize,
    /// Time to copy that many bytes on this device, in microseconds: on the CPU in copies of the input's size with as many
    /// threads, on CUDA by the bandwidth of a large copy.
    bound_us: f64,
    /// Time to copy the layer's input on this device, in microseconds.
    copy_us: f64,
}

/// Latency of the whole network on one engine.
#[derive(Debug, Serialize)]
struct NetworkRow {
    attention: &'static str,
    batch: usize,
    device: &'static str,
    threads: Option<usize>,
    engine: &'static str,
    median_us: f64,
}

/// Device with a number of threads, each of which is measured at the same batch sizes and on the same engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    device: &'static str,
    threads: Option<usize>,
    batches: &'static [usize],
    /// Engines, by the names that Criterion's results have.
    engines: &'static [&'static str],
}

const CPU: Place = Place {
    device: "cpu",
    threads: Some(1),
    batches: &[1, 16],
    engines: &["libtorch", "onnxruntime", "onnxruntime-fused"],
};
/// Our operator for attention runs on the CPU only.
const CUDA: Place =
    Place { device: "cuda", threads: None, batches: &[1, 16, 256], engines: &["libtorch", "onnxruntime"] };
const PLACES: [Place; 3] = [CPU, Place { threads: Some(2), ..CPU }, CUDA];

/// Channels, height and width of the four stages at 32x32.
const STAGES: [[usize; 3]; 4] = [[64, 32, 32], [128, 16, 16], [256, 8, 8], [512, 4, 4]];

/// Layers, each with the least number of reads and writes of every value.
const LAYERS: [(&str, usize); 3] = [("channel", 3), ("spatial", 3), ("cbam", 4)];

/// Copies on CUDA, each with the number of times that the device reads or writes a value.
const COPIES: [(&str, usize); 3] = [("device", 2), ("to-device", 1), ("to-host", 1)];

/// Bytes that the large copy on CUDA reads and writes: of 1 GiB.
const LARGE: f64 = (2_u64 << 30) as f64;

impl Place {
    /// Part of a case's name: `batch16_threads2` or `batch16_cuda`.
    fn case(self, batch: usize) -> String {
        match self.threads {
            Some(threads) => format!("batch{batch}_threads{threads}"),
            None => format!("batch{batch}_{}", self.device),
        }
    }

    /// Case that is measured on this device only.
    fn mark(self) -> &'static str {
        if self == CUDA { "copy_large/device/cuda" } else { "copy_stage1/memory/batch1_threads1" }
    }

    /// Times to copy the input of a stage, and the times that `moves` moves of each of its values take at least.
    fn copies(self, measured: &Measured<'_>, stage: usize, batch: usize) -> Result<Copies> {
        let [channels, height, width] = STAGES[stage - 1];
        let size = batch * channels * height * width * size_of::<f32>();
        let kind = if self == CUDA { "device" } else { "memory" };
        let copy_us = measured.median_us(&format!("copy_stage{stage}/{kind}/{}", self.case(batch)))?;
        // A copy reads each value once, and writes it once.
        let move_us = match self.threads {
            Some(_) => copy_us / 2.0,
            None => size as f64 * measured.median_us(self.mark())? / LARGE,
        };
        Ok(Copies { size, copy_us, move_us })
    }
}

/// Bounds by the memory of a device.
struct Copies {
    /// Bytes of the input.
    size: usize,
    copy_us: f64,
    /// Time to read or write each value once.
    move_us: f64,
}

/// Runs `cargo xtask bench`.
pub fn run(args: &BenchArgs) -> Result<()> {
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| short(&folder))?;
    if let Some(from) = &args.from {
        return report(&folder, &Measured::new(from));
    }
    let home = folder.join("criterion");
    fs::create_dir_all(&home).with_context(|| short(&home))?;
    let mut steps = Steps::new(if args.report { 1 } else { 3 });
    if !args.report {
        steps.run("setup", setup::ensure)?;
        steps.run("measure", || measure(&home, args))?;
    }
    steps.run("report", || report(&folder, &Measured::new(&home)))
}

fn measure(home: &Path, args: &BenchArgs) -> Result<()> {
    let (measure, warm_up) = (args.seconds.to_string(), (args.seconds / 3.0).to_string());
    let mut bench = cargo(&["bench", "--package=benches", "--bench=attention", "--bench=network", "--"]);
    bench.args(["--measurement-time", &measure, "--warm-up-time", &warm_up, "--sample-size", "30"]);
    run_command(bench.env("CRITERION_HOME", home).env("BENCH_DEVICE", &args.device))
}

fn report(folder: &Path, measured: &Measured<'_>) -> Result<()> {
    let places: Vec<Place> = PLACES.into_iter().filter(|place| measured.has(place.mark())).collect();
    // Without any, the error names the first case that is missing.
    let places = if places.is_empty() { vec![CPU] } else { places };
    let (rows, network) = (rows(measured, &places)?, network(measured, &places)?);
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
    write("attention.svg", &plot::svg(&rows, &places)?)
}

fn rows(measured: &Measured<'_>, places: &[Place]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &(layer, moves) in &LAYERS {
        for stage in 1..=STAGES.len() {
            for (place, batch) in loads(places) {
                let Copies { size, copy_us, move_us } = place.copies(measured, stage, batch)?;
                for engine in place.engines {
                    let case = format!("{layer}_stage{stage}/{engine}/{}", place.case(batch));
                    rows.push(Row {
                        layer,
                        stage,
                        batch,
                        device: place.device,
                        threads: place.threads,
                        engine,
                        median_us: measured.median_us(&case)?,
                        bytes: moves * size,
                        bound_us: moves as f64 * move_us,
                        copy_us,
                    });
                }
            }
        }
    }
    if places.contains(&CUDA) {
        rows.extend(copies(measured)?);
    }
    Ok(rows)
}

/// Rows of the copies on CUDA, whose engine is the kind of copy.
fn copies(measured: &Measured<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for stage in 1..=STAGES.len() {
        for &batch in CUDA.batches {
            let Copies { size, copy_us, move_us } = CUDA.copies(measured, stage, batch)?;
            for (engine, moves) in COPIES {
                let case = format!("copy_stage{stage}/{engine}/{}", CUDA.case(batch));
                rows.push(Row {
                    layer: "copy",
                    stage,
                    batch,
                    device: CUDA.device,
                    threads: None,
                    engine,
                    median_us: measured.median_us(&case)?,
                    bytes: moves * size,
                    bound_us: moves as f64 * move_us,
                    copy_us,
                });
            }
        }
    }
    Ok(rows)
}

/// All combinations of place and batch size; of a device, batch size by batch size.
fn loads(places: &[Place]) -> Vec<(Place, usize)> {
    let mut loads: Vec<_> =
        places.iter().flat_map(|&place| place.batches.iter().map(move |&batch| (place, batch))).collect();
    loads.sort_by_key(|&(place, batch)| (place.device, batch));
    loads
}

fn network(measured: &Measured<'_>, places: &[Place]) -> Result<Vec<NetworkRow>> {
    let mut rows = Vec::new();
    for (place, batch) in loads(places) {
        for &engine in place.engines {
            for attention in ["cbam", "none"] {
                let case = format!("network_{}/{engine}/{attention}", place.case(batch));
                let median_us = measured.median_us(&case)?;
                let (device, threads) = (place.device, place.threads);
                rows.push(NetworkRow { attention, batch, device, threads, engine, median_us });
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a median as Criterion does, in microseconds.
    fn measured(home: &Path, case: &str, us: f64) {
        let folder = home.join(case).join("new");
        fs::create_dir_all(&folder).unwrap();
        let estimates = format!(r#"{{"median":{{"point_estimate":{}}}}}"#, us * 1000.0);
        fs::write(folder.join("estimates.json"), estimates).unwrap();
    }

    #[test]
    fn the_bound_on_cuda_is_the_bandwidth_of_a_large_copy() {
        let home = tempfile::tempdir().unwrap();
        // 2 GiB in 1000 us.
        measured(home.path(), CUDA.mark(), 1000.0);
        for stage in 1..=STAGES.len() {
            for &batch in CUDA.batches {
                for (copy, _) in COPIES {
                    measured(home.path(), &format!("copy_stage{stage}/{copy}/{}", CUDA.case(batch)), 5.0);
                }
                for (layer, engine) in
                    LAYERS.iter().flat_map(|(layer, _)| CUDA.engines.iter().map(move |e| (layer, e)))
                {
                    let case = format!("{layer}_stage{stage}/{engine}/{}", CUDA.case(batch));
                    measured(home.path(), &case, 50.0);
                }
            }
        }
        let rows = rows(&Measured::new(home.path()), &[CUDA]).unwrap();
        assert_eq!(rows.len(), 4 * 3 * (LAYERS.len() * 2 + COPIES.len()));
        let row = rows.iter().find(|row| (row.layer, row.stage, row.batch) == ("cbam", 1, 256)).unwrap();
        let bytes = 4 * 256 * 64 * 32 * 32 * 4;
        assert_eq!((row.bytes, row.threads, row.copy_us), (bytes, None, 5.0));
        assert!((row.bound_us - bytes as f64 / (2.0 * 1024.0 * 1024.0 * 1024.0) * 1000.0).abs() < 1e-9);
        assert!(Measured::new(home.path()).has(CUDA.mark()) && !Measured::new(home.path()).has(CPU.mark()));
    }
}
