//! Page of an evaluation.

use std::path::Path;

use ferronnx_report::html::calibration::reliability;
use ferronnx_report::html::evaluation::{Evaluated, evaluation as sections};
use ferronnx_report::html::page::{Headline, page, percent, section};
use ferronnx_report::interval::Interval;
use image::RgbImage;
use maud::html;

use crate::decode;
use crate::evaluate::Evaluation;

/// Renders an evaluation of the images in `data`: headlines, confusion matrix, scores per class, mistakes and calibration.
///
/// `subtitle` names the model and where it ran.
pub fn evaluation(found: &Evaluation, data: impl AsRef<Path>, subtitle: &str) -> String {
    let data = data.as_ref();
    let (confusion, calibration) = (found.confusion(), found.calibration());
    let auc = found.scored.rankings().roc_auc().macro_average;
    let auc = auc.map_or_else(|| "–".into(), |auc| format!("{auc:.3}"));
    let headline = |name, value, note: String| Headline { name, value, note };
    let note = found.accuracy_interval().map_or_else(String::new, |Interval { level, low, high }| {
        let images = found.answers.len();
        format!("of {images} images; {:.0} % interval {} to {}", 100.0 * level, percent(low), percent(high))
    });
    let headlines = [
        headline("Accuracy", percent(confusion.accuracy()), note),
        headline("Top-5", percent(found.top_accuracy()), "true class among the five likeliest".into()),
        headline("Mean F1", format!("{:.3}", confusion.macro_average().f1), "each class alike".into()),
        headline("ROC AUC", auc, "mean of the classes".into()),
        headline("Calibration error", percent(calibration.error), "expected".into()),
        headline("Classes", found.labels.len().to_string(), "in the model".into()),
    ];
    let image = |index: usize| -> Option<(String, RgbImage)> {
        let path = &found.paths[index];
        let name = path.strip_prefix(data).unwrap_or(path).display().to_string();
        Some((name, decode::file(path).ok()?))
    };
    let evaluated =
        Evaluated { split: "evaluated", answers: &found.answers, scored: Some(&found.scored), image: &image };
    let body = html! {
        (sections(&evaluated, &confusion, &found.labels))
        (section(
            "Calibration",
            "Share of right answers by the confidence of the model. Below the line it is overconfident.",
            &reliability("accuracy, %", &[("this model", &calibration)]),
        ))
    };
    page(&super::title(data), subtitle, &headlines, &body)
}
