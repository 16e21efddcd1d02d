//! Evaluation of models whose classes do not exclude each other.

use std::io::{self, Write};

use anyhow::{Context, Result};
use ferronnx_infer::classifier::Classifier;
use ferronnx_infer::evaluate::MultiLabelEvaluation;
use ferronnx_infer::results::Failed;
use ferronnx_report::metrics::Scores;
use ferronnx_report::multi_label::{LabelMetrics, MultiLabel};
use ferronnx_report::text;
use serde::Serialize;

use super::images::Images;
use super::speed::{Clock, Speed};
use super::{Subject, averages, score_cells, see, without_images};
use crate::args::{EvaluateArgs, ReportFormat};
use crate::exit::Done;
use crate::messages;

/// Classifies `images` and prints the metrics of a multi-label model.
pub(super) fn run(args: &EvaluateArgs, classifier: &Classifier, images: &Images) -> Result<Done> {
    let progress = messages::progress(images.len(), false);
    let mut clock = Clock::start(classifier);
    let found = images.evaluate_labels(classifier, |outcome| see(&mut clock, &progress, outcome))?;
    let speed = Speed::of(classifier, &clock);
    progress.finish_and_clear();
    let subject = Subject::new(args, classifier, images, speed);
    let metrics = found.metrics();
    let text = match args.format {
        ReportFormat::Text => lines(&subject, &found, &metrics),
        ReportFormat::Json => serde_json::to_string_pretty(&Json::of(&subject, &found, &metrics))?,
    };
    writeln!(io::stdout(), "{text}").context("standard output")?;
    #[cfg(feature = "report")]
    if let Some(path) = &args.report {
        let page = ferronnx_infer::pages::multi_label(&found, &args.data, &subject.subtitle());
        messages::write_page(path, &page)?;
    }
    Ok(Done::from_counts(found.images.len(), found.failed.len()))
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    subject: &'a Subject<'a>,
    #[serde(flatten)]
    metrics: &'a MultiLabel,
    classes: Vec<Class<'a>>,
    failed: &'a [Failed],
}

#[derive(Serialize)]
struct Class<'a> {
    label: &'a str,
    #[serde(flatten)]
    metrics: &'a LabelMetrics,
}

impl<'a> Json<'a> {
    fn of(subject: &'a Subject<'a>, found: &'a MultiLabelEvaluation, metrics: &'a MultiLabel) -> Self {
        let classes = found.labels.iter().zip(&metrics.classes);
        Self {
            subject,
            metrics,
            classes: classes.map(|(label, metrics)| Class { label, metrics }).collect(),
            failed: &found.failed,
        }
    }
}

fn lines(subject: &Subject<'_>, found: &MultiLabelEvaluation, metrics: &MultiLabel) -> String {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let defined = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let f1 = |scores: &Scores| defined(scores.defined().map(|[.., f1]| format!("{f1:.3}")));
    let mean = defined(metrics.mean_average_precision.map(percent));
    let fields = subject.fields(
        metrics.images,
        found.failed.len(),
        &[
            ("mAP", format!("{mean} mean average precision")),
            ("F1", format!("{} micro, {} macro", f1(&metrics.micro_average), f1(&metrics.macro_average))),
            (
                "exact",
                format!("{} of the images have exactly the right labels", percent(metrics.exact_match)),
            ),
            ("Hamming loss", percent(metrics.hamming_loss)),
            ("ROC AUC", averages(&metrics.roc_auc)),
            (
                "calibration",
                format!("{} expected error, over all decisions", percent(metrics.calibration_error)),
            ),
            ("undefined", without_images(metrics.classes_without_images, found.labels.len())),
        ],
    );
    let row = |(label, metrics): (&String, &LabelMetrics)| {
        let [name, precision, recall, f1, support] = score_cells(label, &metrics.scores);
        let average = metrics.average_precision.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
        [name, average, precision, recall, f1, support]
    };
    let rows = found.labels.iter().zip(&metrics.classes).map(row);
    let table = text::table(["class", "AP", "precision", "recall", "F1", "images"], rows);
    format!("{fields}\n\n{table}")
}
