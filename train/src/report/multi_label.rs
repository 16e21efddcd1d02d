//! Section of the page for a task with several labels an image.

use ferronnx_report::html::curves::ranking_curves;
use ferronnx_report::html::page::{Headline, percent, section};
use ferronnx_report::multi_label::{LabelMetrics, rankings};
use maud::{Markup, html};

use crate::run::EvaluatedLabels;

/// Multi-label evaluation of the best weights.
#[derive(Debug, Clone, Copy)]
pub struct LabelsEvaluated<'a> {
    /// Name of the split, `test` or `validation`.
    pub split: &'a str,
    /// Thresholds, scores and metrics.
    pub found: &'a EvaluatedLabels,
}

/// Renders the classes with their thresholds and scores, the lowest average precision first, and their curves.
pub fn classes(evaluated: LabelsEvaluated<'_>, labels: &[String]) -> Markup {
    let EvaluatedLabels { thresholds, without_images, metrics, .. } = evaluated.found;
    let mut order: Vec<usize> = (0..labels.len()).collect();
    let key = |class: &usize| metrics.classes[*class].average_precision.unwrap_or(f64::INFINITY);
    order.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let row = |class: usize| {
        let LabelMetrics { scores, average_precision, .. } = &metrics.classes[class];
        html! {
            tr {
                th scope="row" { (labels[class]) }
                td.number { (average_precision.map_or_else(|| "–".into(), |value| format!("{value:.3}"))) }
                td.number { (format!("{:.3}", thresholds[class])) @if without_images.contains(&class) { "*" } }
                @for score in [scores.precision, scores.recall, scores.f1] {
                    td.number { @if scores.support == 0 { "–" } @else { (format!("{score:.3}")) } }
                }
                td.number { (scores.support) }
            }
        }
    };
    let table = html! {
        div.scroll.scores {
            table {
                thead { tr {
                    th { "class" }
                    @for name in ["AP", "threshold", "precision", "recall", "F1", "images"] { th.number { (name) } }
                } }
                tbody { @for class in order { (row(class)) } }
            }
        }
        @if !without_images.is_empty() {
            p.quiet { "* No validation image has the class, so no threshold could be chosen for it." }
        }
    };
    let seen = match evaluated.split {
        "validation" => " The thresholds were chosen on these images, so F1 on new images is lower.",
        _ => "",
    };
    let explanation = format!(
        "For the {} images, the lowest average precision (AP) first. A class is selected from its threshold on, which has \
         the highest F1 on the validation images.{seen}",
        evaluated.split
    );
    let rankings = rankings(labels.len(), &evaluated.found.scores);
    html! { (section("Classes", &explanation, &table)) (ranking_curves(&rankings, labels)) }
}

/// Headlines of an evaluation on test images.
pub fn headlines(evaluated: LabelsEvaluated<'_>) -> Vec<Headline> {
    let metrics = &evaluated.found.metrics;
    vec![
        Headline {
            name: "Test mAP",
            value: metrics.mean_average_precision.map_or_else(|| "–".into(), percent),
            note: format!("of {} images", metrics.images),
        },
        Headline {
            name: "Macro F1",
            value: format!("{:.3}", metrics.macro_average.f1),
            note: format!("micro {:.3}", metrics.micro_average.f1),
        },
        Headline {
            name: "Exact match",
            value: percent(metrics.exact_match),
            note: "all labels of an image right".into(),
        },
    ]
}
