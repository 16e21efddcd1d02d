//! Page of a benchmark.

use maud::{Markup, html};

use ferronnx_report::html::axis::Axis;
use ferronnx_report::html::charts::{LineChart, Series};
use ferronnx_report::html::page::{Headline, page, section};

use crate::bench::{Benchmark, Run, percentile, sorted};

/// Number of lines of the distribution that can be told apart.
const LINES: usize = 6;

/// Renders a benchmark: plots of latency by batch size, of throughput by threads and of the distribution, and a table of
/// all numbers.
pub fn benchmark(found: &Benchmark) -> String {
    let Benchmark { environment, model, runs, .. } = found;
    let fastest = runs.iter().min_by(|a, b| a.latency_ms.p50.total_cmp(&b.latency_ms.p50));
    let most = runs.iter().max_by(|a, b| a.throughput_ips.total_cmp(&b.throughput_ips));
    let headline = |name, value, note| Headline { name, value, note };
    let mut headlines: Vec<_> =
        fastest
            .iter()
            .map(|run| headline("Lowest latency", format!("{:.2} ms", run.latency_ms.p50), named(run)))
            .chain(most.iter().map(|run| {
                headline("Highest throughput", format!("{:.0}/s", run.throughput_ips), named(run))
            }))
            .collect();
    headlines.push(headline(
        "Cold start",
        format!("{:.0} ms", found.cold_start_ms),
        "to the first result".into(),
    ));
    if let Some(images) = &found.images {
        headlines.push(headline(
            "From files",
            format!("{:.0}/s", images.end_to_end_ips),
            format!("decoded, prepared, classified at batch {}", images.end_to_end_batch),
        ));
    }
    let unstable = runs.iter().filter(|run| !run.stable).count();
    headlines.push(headline(
        "Stable",
        format!("{} of {}", runs.len() - unstable, runs.len()),
        "combinations without trend or noise".into(),
    ));
    let body = html! {
        (section("Plots", "", &html! { div.charts { (latency(runs)) (throughput(runs)) (distribution(runs)) } }))
        (section("Combinations", "Milliseconds of a pass.", &table(runs)))
        @if let Some(images) = &found.images {
            (section("Images", "Milliseconds an image, one thread.", &html! { table {
                thead { tr { th { "step" } @for name in ["p50", "p90", "max"] { th.number { (name) } } } }
                tbody {
                    @for (name, latency) in [("decode", images.decode_ms), ("preprocess", images.preprocess_ms)] {
                        tr {
                            th scope="row" { (name) }
                            @for value in [latency.p50, latency.p90, latency.max] { td.number { (format!("{value:.3}")) } }
                        }
                    }
                    tr {
                        th scope="row" { "inference" }
                        td.number { (format!("{:.3}", images.inference_ms)) } td.number {} td.number {}
                    }
                }
            } }))
        }
        (section("Machine", "", &html! { table { tbody {
            @for (name, value) in [
                ("processor", environment.cpu.clone()),
                ("cores", environment.cores.to_string()),
                ("memory", format!("{:.1} GiB", environment.memory_bytes as f64 / f64::from(1 << 30))),
                ("system", environment.system.clone()),
                ("ONNX Runtime", environment.onnxruntime.clone()),
                ("infer", environment.infer.clone()),
            ] { tr { th scope="row" { (name) } td { (value) } } }
        } } }))
    };
    let precision = model.precision.as_ref().map_or_else(String::new, |precision| format!(" · {precision}"));
    let subtitle = format!("{:.1} MB{precision} · {}", model.bytes as f64 / 1e6, model.input);
    page(&model.file, &subtitle, &headlines, &body)
}

/// Short description of a run, for a legend with many lines.
fn short(run: &Run) -> String {
    format!("{} {} thr, batch {}", run.device(), run.threads, run.batch)
}

/// Description of a run.
fn named(run: &Run) -> String {
    format!("{}, threads {}, batch {}", run.device(), run.threads, run.batch)
}

/// Line of a chart: its name and its points.
type Line = (String, Vec<(usize, f64)>);

/// Groups runs by `key` into lines with a `name`, of one `point` per run.
fn lines<K: PartialEq>(
    runs: &[Run],
    key: impl Fn(&Run) -> K,
    name: impl Fn(&Run) -> String,
    point: impl Fn(&Run) -> (usize, f64),
) -> Vec<Line> {
    let mut groups: Vec<(K, Line)> = Vec::new();
    for run in runs {
        match groups.iter_mut().find(|(known, ..)| *known == key(run)) {
            Some((_, (_, points))) => points.push(point(run)),
            None => groups.push((key(run), (name(run), vec![point(run)]))),
        }
    }
    let sorted = |(_, (name, mut points)): (K, Line)| {
        points.sort_by_key(|&(x, _)| x);
        (name, points)
    };
    groups.into_iter().map(sorted).collect()
}

fn chart(title: &str, x_label: &str, lines: &[Line]) -> Markup {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (first, last) = (points().map(|(x, _)| *x).min(), points().map(|(x, _)| *x).max());
    let place = |&(x, y): &(usize, f64)| (x as f64, y);
    let series: Vec<_> = lines
        .iter()
        .map(|(name, points)| Series { name, points: points.iter().map(place).collect() })
        .collect();
    LineChart {
        title,
        x_label,
        x: Axis::whole(first.unwrap_or(0), last.unwrap_or(1)),
        y: Axis::linear(points().map(|(_, y)| *y).chain([0.0]), [0.0, f64::INFINITY]),
        series: &series,
        bands: &[],
        mark: None,
    }
    .render()
}

fn latency(runs: &[Run]) -> Markup {
    let key = |run: &Run| (run.provider.clone(), run.threads);
    let name = |run: &Run| format!("{}, threads {}", run.device(), run.threads);
    chart("latency, ms (median)", "batch", &lines(runs, key, name, |run| (run.batch, run.latency_ms.p50)))
}

fn throughput(runs: &[Run]) -> Markup {
    let key = |run: &Run| (run.provider.clone(), run.batch);
    let name = |run: &Run| format!("{}, batch {}", run.device(), run.batch);
    chart("throughput, images/s", "threads", &lines(runs, key, name, |run| (run.threads, run.throughput_ips)))
}

/// Plots the percentiles of each run as multiples of its median, so that all batch sizes fit one chart.
fn distribution(runs: &[Run]) -> Markup {
    let line = |run: &Run| {
        let sorted = sorted(&run.samples);
        let median = percentile(&sorted, 0.5);
        let points = (0..=99).map(|percent| (percent, percentile(&sorted, percent as f64 / 100.0) / median));
        (short(run), points.collect())
    };
    let measured = runs.iter().filter(|run| !run.samples.is_empty());
    let lines: Vec<_> = measured.take(LINES).map(line).collect();
    chart("distribution, multiples of the median", "percentile", &lines)
}

fn table(runs: &[Run]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "device" }
                @for name in ["threads", "batch", "passes", "mean", "min", "p50", "p90", "p95", "p99", "max", "images/s"] {
                    th.number { (name) }
                }
                th { "stable" }
                th.number { "vs old" }
            } }
            tbody { @for run in runs {
                @let latency = run.latency_ms;
                tr {
                    th scope="row" { (run.device()) }
                    @for count in [run.threads, run.batch, run.iterations] { td.number { (count) } }
                    @for value in [latency.mean, latency.min, latency.p50, latency.p90, latency.p95, latency.p99, latency.max] {
                        td.number { (format!("{value:.2}")) }
                    }
                    td.number { (format!("{:.1}", run.throughput_ips)) }
                    td { @if run.stable { "yes" } @else { "no" } }
                    td.number { @if let Some(compared) = run.compared { (format!("{:.2}x", compared.ratio)) } }
                }
            } }
        } }
    }
}
