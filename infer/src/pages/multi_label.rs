//! Page of an evaluation of a multi-label model.

use std::path::Path;

use ferronnx_report::html::calibration::reliability;
use ferronnx_report::html::curves::ranking_curves;
use ferronnx_report::html::page::{Headline, page, percent, section};
use ferronnx_report::metrics::Scores;
use ferronnx_report::multi_label::{LabelMetrics, calibration, rankings};
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
    let (f1, three) = (|scores: &Scores| Some(scores.defined()?[2]), |value| format!("{value:.3}"));
    let headlines = [
        headline("mAP", defined(metrics.mean_average_precision, percent), "mean average precision".into()),
        headline("Micro F1", defined(f1(&metrics.micro_average), three), "all decisions alike".into()),
        headline("Macro F1", defined(f1(&metrics.macro_average), three), "each class alike".into()),
        headline("Exact match", percent(metrics.exact_match), format!("of {} images", metrics.images)),
        headline("Hamming loss", percent(metrics.hamming_loss), "wrong decisions".into()),
    ];
    let mut classes: Vec<(&String, &LabelMetrics)> = found.labels.iter().zip(&metrics.classes).collect();
    classes.sort_by(|(_, a), (_, b)| {
        let key = |metrics: &LabelMetrics| metrics.average_precision.unwrap_or(f64::INFINITY);
        key(a).total_cmp(&key(b))
    });
    let rankings = rankings(found.labels.len(), &found.images);
    let body = html! {
        (section("Classes", "The lowest average precision first.", &table(&classes)))
        (ranking_curves(&rankings, &found.labels))
        (section(
            "Calibration",
            "Share of images that have a class, by the probability of the class, over all images and classes. Below the \
             line the model is overconfident.",
            &reliability("images that have the class, %", &[("all classes", &calibration(&found.images))]),
        ))
    };
    page(&super::title(data), subtitle, &headlines, &body)
}

/// Formats a value, or a dash where it is undefined.
fn defined(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".into(), format)
}

fn table(classes: &[(&String, &LabelMetrics)]) -> Markup {
    let number = |value: Option<f64>| defined(value, |value| format!("{value:.3}"));
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "class" }
                        @for name in ["AP", "ROC AUC", "precision", "recall", "F1", "images"] { th.number scope="col" { (name) } }
                    }
                }
                tbody {
                    @for (label, LabelMetrics { scores, average_precision, roc_auc }) in classes {
                        @let shares = scores.defined().map_or([None; 3], |scores| scores.map(Some));
                        tr {
                            th scope="row" { (label) }
                            @for value in [*average_precision, *roc_auc].into_iter().chain(shares) {
                                td.number { (number(value)) }
                            }
                            td.number { (scores.support) }
                        }
                    }
                }
            }
        }
    }
}
