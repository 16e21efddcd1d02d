//! HTML page of a comparison: results, curves of all runs, and the settings that differ.

use ferronnx_report::html::axis::Axis;
use ferronnx_report::html::charts::{LineChart, Series};
use ferronnx_report::html::page::{page as frame, percent, section};
use maud::{Markup, html};

use super::{Comparison, RunSummary, Status};
use crate::trainer::EpochMetrics;

/// Renders the page.
pub fn page(comparison: &Comparison) -> String {
    let Comparison { runs, differences, warnings } = comparison;
    let body = html! {
        @if !warnings.is_empty() {
            (section("These runs do not compare in everything", "", &html! {
                ul { @for warning in warnings { li { (warning) } } }
            }))
        }
        (section("Results", "Intervals are Wilson's at the 95 % level.", &results(runs)))
        @if runs.iter().any(|run| !run.metrics.is_empty()) {
            (section("Curves", "", &curves(runs)))
        }
        @if differences.is_empty() {
            (section("Settings", "", &html! { p { "The configurations are the same." } }))
        } @else {
            (section("Settings that differ", "", &settings(comparison)))
        }
    };
    frame("Comparison of runs", &format!("{} runs", runs.len()), &[], &body)
}

fn results(runs: &[RunSummary]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "run" }
                @for name in ["test", "95 %", "validation", "macro F1", "epochs", "best epoch", "minutes", "parameters"] {
                    th.number { (name) }
                }
                @for name in ["recipe", "data", "network"] { th { (name) } }
            } }
            tbody { @for run in runs { (row(run)) } }
        } }
    }
}

fn row(run: &RunSummary) -> Markup {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let score = |map: Option<f64>, accuracy: Option<f64>| match map {
        Some(map) => format!("mAP {}", percent(map)),
        None => accuracy.map(percent).unwrap_or_default(),
    };
    let interval = run.test_interval.map(|found| format!("{} – {}", percent(found.low), percent(found.high)));
    html! {
        tr {
            th scope="row" {
                span.whole { (run.name) @if run.status == Status::Unfinished { " (unfinished)" } }
                @if run.status == Status::Broken { " (broken: " (text(&run.problem)) ")" }
            }
            td.number { (score(run.test_map, run.test_accuracy)) }
            td.number { (interval.unwrap_or_default()) }
            td.number { (score(run.validation_map, run.validation_accuracy)) }
            td.number { @if let Some(f1) = run.macro_f1 { (format!("{f1:.3}")) } }
            td.number { (run.epochs) @if let Some(planned) = run.planned_epochs { "/" (planned) } }
            td.number { @if let Some(best) = run.best_epoch { (best) } }
            td.number { (format!("{:.1}", run.seconds / 60.0)) }
            td.number { @if let Some(count) = run.parameters { (count) } }
            td { (text(&run.recipe)) }
            td { (text(&run.data)) }
            td { (text(&run.network)) }
        }
    }
}

fn curves(runs: &[RunSummary]) -> Markup {
    let last = runs.iter().flat_map(|run| &run.metrics).map(|epoch| epoch.epoch).max().unwrap_or(1);
    let chart = |title, bounds: [f64; 2], value: fn(&EpochMetrics) -> f64| {
        let series: Vec<_> = runs
            .iter()
            .map(|run| Series {
                name: &run.name,
                points: run.metrics.iter().map(|epoch| (epoch.epoch as f64, value(epoch))).collect(),
            })
            .collect();
        let values = series.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
        let y = Axis::linear(values.filter(|value| value.is_finite()), bounds);
        let x = Axis::whole(1, last);
        LineChart { title, x_label: "epoch", x, y, series: &series, bands: &[], mark: None }.render()
    };
    let losses = [0.0, f64::INFINITY];
    let has_maps = runs.iter().flat_map(|run| &run.metrics).any(|epoch| epoch.validation_map.is_some());
    html! {
        div.charts {
            @if has_maps {
                (chart("Validation mAP, %", [0.0, 100.0], |epoch| epoch.validation_map.map_or(f64::NAN, |map| 100.0 * map)))
            }
            (chart("Validation accuracy, %", [0.0, 100.0], |epoch| 100.0 * epoch.validation_accuracy))
            (chart("Validation loss", losses, |epoch| epoch.validation_loss))
            (chart("Training loss", losses, |epoch| epoch.train_loss))
        }
    }
}

fn settings(comparison: &Comparison) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "setting" }
                @for run in &comparison.runs { th { (run.name) } }
            } }
            tbody { @for difference in &comparison.differences {
                tr {
                    th scope="row" { code { (difference.setting) } }
                    @for value in &difference.values { td { (value.as_deref().unwrap_or("–")) } }
                }
            } }
        } }
    }
}
