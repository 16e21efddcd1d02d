//! Page of an evaluation of a multi-label model.

use std::path::Path;

use ferronnx_report::html::page::{Headline, page, percent, section};
use ferronnx_report::multi_label::LabelMetrics;
use maud::{Markup, html};

use crate::evaluate::MultiLabelEvaluation;

/// Renders an evaluation of the images in `data`: headlines and the metrics of each class, the lowest average precision
/// first.
///
/// `subtitle` names the model and where it ran.
pub fn multi_label(found: &MultiLabelEvaluation, data: impl AsRef<Path>, subtitle: &str) -> String {
    let data = data.as_ref();
    let metrics = found.metrics();
    let headline = |name, value, note: String| Headline { name, value, note };
    let headlines = [
        headline("mAP", percent(metrics.mean_average_precision), "mean average precision".into()),
        headline("Micro F1", format!("{:.3}", metrics.micro_average.f1), "all decisions alike".into()),
        headline("Macro F1", format!("{:.3}", metrics.macro_average.f1), "each class alike".into()),
        headline("Exact match", percent(metrics.exact_match), format!("of {} images", metrics.images)),
        headline("Hamming loss", percent(metrics.hamming_loss), "wrong decisions".into()),
    ];
    let mut classes: Vec<(&String, &LabelMetrics)> = found.labels.iter().zip(&metrics.classes).collect();
    classes.sort_by(|(_, a), (_, b)| {
        let key = |metrics: &LabelMetrics| metrics.average_precision.unwrap_or(f64::INFINITY);
        key(a).total_cmp(&key(b))
    });
    let body = section("Classes", "The lowest average precision first.", &table(&classes));
    let title = data.file_name().unwrap_or(data.as_os_str()).to_string_lossy();
    page(&title, subtitle, &headlines, &body)
}

fn table(classes: &[(&String, &LabelMetrics)]) -> Markup {
    let number = |value: f64| format!("{value:.3}");
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "class" }
                        @for name in ["AP", "precision", "recall", "F1", "images"] { th.number scope="col" { (name) } }
                    }
                }
                tbody {
                    @for (label, LabelMetrics { scores, average_precision }) in classes {
                        tr {
                            th scope="row" { (label) }
                            td.number { (average_precision.map_or_else(|| "-".into(), number)) }
                            @for score in [scores.precision, scores.recall, scores.f1] { td.number { (number(score)) } }
                            td.number { (scores.support) }
                        }
                    }
                }
            }
        }
    }
}
