//! Command `infer bench`: measures latency and throughput of a model.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ferronnx_infer::bench::{Benchmark, Images, Plan, Run, Start};
use ferronnx_infer::{Error, ErrorKind, escape, files};
use ferronnx_report::text;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::model;
use crate::args::{BenchArgs, BenchFormat};
use crate::exit::Done;
use crate::messages;

/// Ratio to the earlier median from which a run is marked as slower; below its inverse it is marked as faster.
const MARKED: f64 = 1.1;

/// Measures every combination of `args` and prints the result.
pub fn run(args: &BenchArgs) -> Result<Done> {
    #[cfg(feature = "report")]
    messages::check_page(args.report.as_ref())?;
    let old = args.compare.as_deref().map(read).transpose()?;
    let threads = args.threads.iter().copied().map(Some).collect::<Vec<_>>();
    let mut plan = Plan::default();
    plan.batches = args.batch.clone();
    plan.threads = if threads.is_empty() { vec![None] } else { threads };
    plan.devices = args.device.clone();
    let as_classified = args.images.is_some();
    plan.session = args.engine.options(&args.files).bytes(as_classified).halves(as_classified);
    plan.warm_up = Duration::from_secs_f64(args.warm_up);
    plan.measured = Duration::from_secs_f64(args.seconds);
    plan.assumptions = args.assume.assumptions()?;
    plan.images = args.images.as_deref().map(images).transpose()?.unwrap_or_default();
    let progress = progress(plan.batches.len() * plan.threads.len() * plan.devices.len());
    let mut found = model::load(&args.files.or(args.file.as_deref()), |path| {
        Benchmark::run(path, &plan, |device, threads, batch| {
            let threads = threads.map_or_else(String::new, |threads| format!(", {threads} threads"));
            progress.set_message(format!("{device}{threads}, batch {batch}"));
            progress.inc(1);
        })
    })?;
    progress.finish_and_clear();
    if let Some(note) = &found.model.note {
        messages::line("note", messages::faster(note));
    }
    if let Some(old) = &old {
        found.compare(old);
        if found.runs.iter().all(|run| run.compared.is_none()) {
            messages::line("warning", "--compare: no combination of provider, threads and batch is in both");
        }
    }
    let text = match args.format {
        BenchFormat::Table => escape::text(&table(&found)).into_owned(),
        BenchFormat::Json => serde_json::to_string_pretty(&found)?,
        BenchFormat::Csv => csv(&found)?,
        BenchFormat::Markdown => escape::text(&markdown(&found)).into_owned(),
    };
    writeln!(io::stdout(), "{text}").context("standard output")?;
    #[cfg(feature = "report")]
    if let Some(path) = &args.report {
        messages::write_page(path, &ferronnx_infer::pages::benchmark(&found))?;
    }
    let Some(limit) = args.fail_above else { return Ok(Done::All) };
    let slower = |run: &&Run| run.compared.is_some_and(|compared| compared.ratio > limit);
    let slower: Vec<_> = found.runs.iter().filter(slower).collect();
    if let Some(first) = slower.first() {
        let ratio = first.compared.map_or(0.0, |compared| compared.ratio);
        let what = format!("{}, {} threads, batch {}", first.device(), first.threads, first.batch);
        let more = if slower.len() > 1 { format!(" and {} more", slower.len() - 1) } else { String::new() };
        messages::line(
            "error",
            format_args!("slower than --fail-above {limit}: {what} takes {ratio:.2} times as long{more}"),
        );
        return Ok(Done::Some);
    }
    Ok(Done::All)
}

/// Reads the earlier benchmark of `--compare`.
fn read(path: &Path) -> Result<Benchmark> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read --compare {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!("--compare {}: this is not what `infer bench --format json` gives", path.display())
    })
}

/// Lists the images of `--images`.
fn images(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = files::find(dir).context("--images")?;
    if !found.failed.is_empty() {
        return Err(found.failed.swap_remove(0)).context("--images");
    }
    if !found.left_out.is_empty() {
        messages::note(format_args!("left out: {}", found.left_out));
    }
    if found.images.is_empty() {
        return Err(Error::from(ErrorKind::NoImages).at(dir)).context("--images");
    }
    Ok(found.images)
}

fn progress(combinations: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("measuring {msg} ({pos}/{len})");
    let bar = ProgressBar::with_draw_target(Some(combinations as u64), ProgressDrawTarget::stderr());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Cells of a run, in the order of [`HEADER`].
fn cells(run: &Run) -> [String; 11] {
    let ms = |value: f64| format!("{value:.2}");
    let latency = &run.latency_ms;
    let compared = run.compared.map_or_else(String::new, |compared| {
        let mark = match compared.ratio {
            ratio if ratio > MARKED => " slower",
            ratio if ratio < 1.0 / MARKED => " faster",
            _ => "",
        };
        format!("{:.2}x{mark}", compared.ratio)
    });
    [
        run.device().into(),
        run.threads.to_string(),
        run.batch.to_string(),
        ms(latency.mean),
        ms(latency.min),
        ms(latency.p50),
        ms(latency.p90),
        ms(latency.p99),
        format!("{:.1}", run.throughput_ips),
        if run.stable { "yes" } else { "NO" }.into(),
        compared,
    ]
}

/// Columns of the tables.
const HEADER: [&str; 11] =
    ["device", "thr", "batch", "mean", "min", "p50", "p90", "p99", "images/s", "stable", "vs old"];

fn table(found: &Benchmark) -> String {
    let Benchmark { environment, model, .. } = found;
    let precision = model.precision.as_ref().map_or_else(String::new, |precision| format!(", {precision}"));
    let mut fields = vec![
        ("model", format!("{} ({:.1} MB{precision})", model.file, model.bytes as f64 / 1e6)),
        ("input", model.input.clone()),
        ("runtime", format!("ONNX Runtime {}", environment.onnxruntime)),
        ("machine", format!("{}, {} cores, {}", environment.cpu, environment.cores, environment.system)),
        ("cold start", cold_start(found)),
    ];
    if let Some(images) = &found.images {
        fields.push(("images", split(images)));
    }
    let placed = |run: &Run| {
        let nodes = run.placement.iter().map(|(provider, nodes)| format!("{nodes} operators on {provider}"));
        nodes.collect::<Vec<_>>().join(", ")
    };
    let mut placements: Vec<_> = found.runs.iter().map(placed).collect();
    placements.dedup();
    fields.push(("placement", placements.join("; ")));
    let rows = text::table(HEADER, found.runs.iter().map(cells));
    format!("{}\n\n{rows}\n\n times of a pass in ms", text::fields(&fields))
}

/// Time to the first result, with its steps.
fn cold_start(found: &Benchmark) -> String {
    let steps = found.start_ms.map_or_else(String::new, |Start { library, session, first_pass }| {
        format!(": library {library:.0}, session {session:.0}, pass {first_pass:.0}")
    });
    format!("{:.0} ms to the first result{steps}", found.cold_start_ms)
}

/// Times of the steps of an image.
fn split(images: &Images) -> String {
    let Images { count, decode_ms, preprocess_ms, inference_ms, end_to_end_ips, end_to_end_batch } = images;
    format!(
        "{count} of them: decode {:.2} ms, preprocess {:.2} ms, inference {inference_ms:.2} ms each; from files to \
         classes {end_to_end_ips:.1} images/s at batch {end_to_end_batch}",
        decode_ms.p50, preprocess_ms.p50
    )
}

fn markdown(found: &Benchmark) -> String {
    let row = |cells: &[&str]| format!("| {} |", cells.join(" | "));
    let mut lines = vec![
        format!(
            "{}, ONNX Runtime {}, {}; times of a pass in ms.",
            found.model.file, found.environment.onnxruntime, found.environment.cpu
        ),
        String::new(),
        row(&HEADER),
        row(&["---"; HEADER.len()]),
    ];
    lines.extend(found.runs.iter().map(|run| row(&cells(run).each_ref().map(String::as_str))));
    lines.join("\n")
}

fn csv(found: &Benchmark) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "provider",
        "threads",
        "batch",
        "iterations",
        "mean_ms",
        "min_ms",
        "p50_ms",
        "p90_ms",
        "p95_ms",
        "p99_ms",
        "max_ms",
        "throughput_ips",
        "stable",
        "ratio",
    ])?;
    for run in &found.runs {
        let latency = run.latency_ms;
        let ratio = run.compared.map(|compared| compared.ratio);
        writer.serialize((
            (&run.provider, run.threads, run.batch, run.iterations),
            (latency.mean, latency.min, latency.p50, latency.p90, latency.p95, latency.p99, latency.max),
            (run.throughput_ips, run.stable, ratio),
        ))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?.trim_end().to_owned())
}
