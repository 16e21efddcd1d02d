//! Command `infer evaluate`: measures accuracy on labelled images.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use ferronnx_infer::classifier::Classifier;
use ferronnx_infer::device::short_name;
use ferronnx_infer::evaluate::{self, Evaluation, TOP};
use ferronnx_infer::results::{Failed, Outcome};
use ferronnx_infer::session::Optimization;
use ferronnx_report::metrics::{Calibration, Confusion, Scores, mistakes};
use ferronnx_report::text;
use serde::Serialize;

use super::model;
use crate::args::{EvaluateArgs, ReportFormat};
use crate::exit::Done;
use crate::messages;

/// Number of pairs of classes to name, of those confused most often.
const CONFUSED: usize = 5;

/// Number of mistakes in JSON, the most confident ones.
const MISTAKES: usize = 24;

/// Classifies the images of `args.data` and prints the accuracy.
pub fn run(args: &EvaluateArgs) -> Result<Done> {
    let builder = Classifier::builder().top_k(TOP).batch(args.batch).threshold(args.threshold);
    let builder = builder.assume(args.assume.assumptions()?);
    let classifier = model::classifier(&args.model, builder, Optimization::Full)?;
    let samples = evaluate::images(&args.data, &classifier.card().labels).context("--data")?;
    let progress = messages::progress(samples.len(), false);
    let start = Instant::now();
    let found = Evaluation::run(&classifier, &samples, |outcome| {
        if let Outcome::Failed(failed) = outcome {
            messages::failed(&progress, failed);
        }
        progress.inc(1);
    })?;
    progress.finish_and_clear();
    let summary = Summary {
        model: args.model.path().display().to_string(),
        data: args.data.display().to_string(),
        provider: classifier.session().provider(),
        images_per_second: samples.len() as f64 / start.elapsed().as_secs_f64(),
        confusion: found.confusion(),
        calibration: found.calibration(),
        found: &found,
    };
    let text = match args.format {
        ReportFormat::Text => summary.text(),
        ReportFormat::Json => serde_json::to_string_pretty(&summary.json())?,
    };
    writeln!(io::stdout(), "{text}").context("standard output")?;
    #[cfg(feature = "report")]
    if let Some(path) = &args.report {
        let subtitle = format!("{} on {}", summary.model, summary.provider);
        messages::write_page(path, &ferronnx_infer::pages::evaluation(&found, &args.data, &subtitle))?;
    }
    Ok(Done::from_counts(found.answers.len(), found.failed.len()))
}

/// Evaluation with what its forms have in common.
struct Summary<'a> {
    model: String,
    data: String,
    provider: &'static str,
    images_per_second: f64,
    confusion: Confusion,
    calibration: Calibration,
    found: &'a Evaluation,
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    data: &'a str,
    provider: &'static str,
    images: usize,
    images_per_second: f64,
    accuracy: f64,
    top5_accuracy: f64,
    calibration: &'a Calibration,
    macro_average: Scores,
    classes: Vec<Class<'a>>,
    /// Confusion matrix: a row per true class, a column per predicted class.
    confusion: Vec<Vec<usize>>,
    mistakes: Vec<Mistake<'a>>,
    failed: &'a [Failed],
}

#[derive(Serialize)]
struct Class<'a> {
    label: &'a str,
    #[serde(flatten)]
    scores: Scores,
}

#[derive(Serialize)]
struct Mistake<'a> {
    path: String,
    actual: &'a str,
    predicted: &'a str,
    probability: f32,
}

impl Summary<'_> {
    fn text(&self) -> String {
        let Self { found, confusion, calibration, .. } = self;
        let failed = match found.failed.len() {
            0 => String::new(),
            failed => format!(", {failed} more failed"),
        };
        let provider = short_name(self.provider);
        let fields = [
            ("model", self.model.clone()),
            ("images", format!("{} of {}{failed}", found.answers.len(), self.data)),
            ("accuracy", format!("{:.2} %", 100.0 * confusion.accuracy())),
            ("top-5", format!("{:.2} %", 100.0 * found.top_accuracy())),
            ("calibration", format!("{:.2} % expected error", 100.0 * calibration.error)),
            ("speed", format!("{:.1} images/s on {provider}", self.images_per_second)),
        ];
        let row = |name: &str, scores: &Scores| {
            let number = |score: f64| format!("{score:.3}");
            let Scores { precision, recall, f1, support } = *scores;
            [name.into(), number(precision), number(recall), number(f1), support.to_string()]
        };
        let classes = confusion.worst_first().into_iter();
        let rows = classes.map(|(class, scores)| row(&found.labels[class], &scores));
        let rows = rows.chain([row("mean", &confusion.macro_average())]);
        let table = text::table(["class", "precision", "recall", "F1", "images"], rows);
        let mut parts = vec![text::fields(&fields), table];
        let confused = confusion.most_confused();
        if !confused.is_empty() {
            let line = |&(actual, predicted): &(usize, usize)| {
                let [actual_label, label] = [actual, predicted].map(|class| &found.labels[class]);
                let (count, support) = (confusion.count(actual, predicted), confusion.support(actual));
                format!(" {actual_label} taken for {label}: {count} of {support}")
            };
            let lines: Vec<_> = confused.iter().take(CONFUSED).map(line).collect();
            parts.push(format!("mistaken most often\n{}", lines.join("\n")));
        }
        parts.join("\n\n")
    }

    fn json(&self) -> Json<'_> {
        let Self { found, confusion, .. } = self;
        let labels = &found.labels;
        let classes = 0..labels.len();
        let mistake = |index: usize| {
            let answer = found.answers[index];
            Mistake {
                path: found.paths[index].display().to_string(),
                actual: &labels[answer.actual],
                predicted: &labels[answer.predicted],
                probability: answer.probability,
            }
        };
        Json {
            model: &self.model,
            data: &self.data,
            provider: self.provider,
            images: found.answers.len(),
            images_per_second: self.images_per_second,
            accuracy: confusion.accuracy(),
            top5_accuracy: found.top_accuracy(),
            calibration: &self.calibration,
            macro_average: confusion.macro_average(),
            classes: classes
                .clone()
                .map(|class| Class { label: &labels[class], scores: confusion.scores(class) })
                .collect(),
            confusion: classes
                .clone()
                .map(|actual| classes.clone().map(|predicted| confusion.count(actual, predicted)).collect())
                .collect(),
            mistakes: mistakes(&found.answers).into_iter().take(MISTAKES).map(mistake).collect(),
            failed: &found.failed,
        }
    }
}
