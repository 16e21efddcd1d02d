//! Charts of loss, accuracy and learning rate by epoch.

use indexmap::IndexSet;
use maud::{Markup, html};

use crate::trainer::EpochMetrics;
use ferronnx_report::html::axis::Axis;
use ferronnx_report::html::charts::{Band, LineChart, Series};

/// Draws the charts of a run; `metrics` has at least one epoch.
pub fn curves(metrics: &[EpochMetrics], best_epoch: Option<usize>) -> Markup {
    let (Some(first), Some(last)) = (metrics.first(), metrics.last()) else { return html! {} };
    let bands = phases(metrics);
    let chart = |title, y: Axis, series: &[Series<'_>]| {
        let x = Axis::whole(first.epoch, last.epoch);
        let mark = best_epoch.map(|epoch| (epoch as f64, "best"));
        LineChart { title, x_label: "epoch", x, y, series, bands: &bands, mark }.render()
    };
    let loss = both(metrics, |m| m.validation_loss, |m| m.train_loss);
    let accuracy = both(metrics, |m| 100.0 * m.validation_accuracy, |m| 100.0 * m.train_accuracy);
    let is_multi_label = metrics.iter().any(|metrics| metrics.validation_map.is_some());
    let percent = |value: Option<f64>| 100.0 * value.unwrap_or(f64::NAN);
    let map = [line(metrics, "validation", |m| percent(m.validation_map))];
    let rates = rates(metrics);
    html! {
        p.quiet {
            "Training images are measured while they are learnt from, augmented; validation images after each epoch. "
            @if let Some(best) = best_epoch { "The dotted line marks the best epoch, " (best) ". " }
            "Phases: "
            @for (index, band) in bands.iter().enumerate() {
                (index + 1) " " (band.name) " (" span.whole { (range(band)) } ")"
                @if index + 1 < bands.len() { ", " } @else { "." }
            }
        }
        div.charts {
            (chart("Loss", Axis::linear(finite(&loss), [0.0, f64::INFINITY]), &loss))
            @if is_multi_label { (chart("Mean average precision, %", Axis::linear(finite(&map), [0.0, 100.0]), &map)) }
            (chart(if is_multi_label { "Label accuracy, %" } else { "Accuracy, %" }, Axis::linear(finite(&accuracy), [0.0, 100.0]), &accuracy))
            (chart("Learning rate", Axis::log(finite(&rates).filter(|rate| *rate > 0.0)), &rates))
        }
    }
}

/// Groups consecutive epochs of one phase.
pub(super) fn phases(metrics: &[EpochMetrics]) -> Vec<Band<'_>> {
    let runs = metrics.chunk_by(|a, b| a.phase == b.phase);
    runs.map(|run| Band { name: &run[0].phase, from: run[0].epoch, to: run[run.len() - 1].epoch }).collect()
}

/// Formats `epoch 3` or `epochs 1–5`.
pub(super) fn range(band: &Band<'_>) -> String {
    match (band.from, band.to) {
        (from, to) if from == to => format!("epoch {from}"),
        (from, to) => format!("epochs {from}–{to}"),
    }
}

fn both(
    metrics: &[EpochMetrics],
    validation: fn(&EpochMetrics) -> f64,
    train: fn(&EpochMetrics) -> f64,
) -> [Series<'static>; 2] {
    [line(metrics, "validation", validation), line(metrics, "train", train)]
}

fn line(
    metrics: &[EpochMetrics],
    name: &'static str,
    value: impl Fn(&EpochMetrics) -> f64,
) -> Series<'static> {
    Series { name, points: metrics.iter().map(|metrics| (metrics.epoch as f64, value(metrics))).collect() }
}

/// Makes a line for each parameter group. A group that is absent or zero has nothing to draw.
fn rates(metrics: &[EpochMetrics]) -> Vec<Series<'_>> {
    let groups: IndexSet<&str> =
        metrics.iter().flat_map(|metrics| metrics.learning_rates.keys()).map(String::as_str).collect();
    let rate =
        |metrics: &EpochMetrics, group: &str| metrics.learning_rates.get(group).copied().unwrap_or(f64::NAN);
    groups
        .into_iter()
        .map(|name| Series {
            name,
            points: metrics.iter().map(|metrics| (metrics.epoch as f64, rate(metrics, name))).collect(),
        })
        .collect()
}

fn finite<'a>(series: &'a [Series<'_>]) -> impl Iterator<Item = f64> + 'a {
    series.iter().flat_map(|series| &series.points).map(|(_, value)| *value).filter(|value| value.is_finite())
}
