//! `infer evaluate`: what a model is worth on images whose classes are known.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use ferronnx_infer::classifier::Classifier;
use ferronnx_infer::device::short_name;
use ferronnx_infer::evaluate::{self, Evaluation, TOP};
use ferronnx_infer::results::{Failed, Outcome};
use ferronnx_infer::session::Optimization;
use ferronnx_infer::{decode, text};
use ferronnx_report::html::calibration::reliability;
use ferronnx_report::html::evaluation::{Evaluated, evaluation};
use ferronnx_report::html::page::{Headline, page, percent, section};
use ferronnx_report::metrics::{Calibration, Confusion, Scores, mistakes};
use image::RgbImage;
use maud::html;
use serde::Serialize;

use super::model;
use crate::args::{EvaluateArgs, ReportFormat};
use crate::report::{self, Done};

/// Pairs of classes named that are mistaken most often.
const CONFUSED: usize = 5;

/// Mistakes named in JSON.
const MISTAKES: usize = 24;

/// Classifies the images of `args.data` and says how often that was right.
pub fn run(args: &EvaluateArgs) -> Result<Done> {
    let builder = Classifier::builder().top_k(TOP).batch(args.batch).assume(args.assume.assumptions()?);
    let classifier = model::classifier(&args.model, builder, Optimization::Full)?;
    let samples = evaluate::images(&args.data, &classifier.card().labels).context("--data")?;
    let progress = report::progress(samples.len(), false);
    let start = Instant::now();
    let found = Evaluation::run(&classifier, &samples, |outcome| {
        if let Outcome::Failed(failed) = outcome {
            report::failed(&progress, failed);
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
    if let Some(path) = &args.report {
        report::write_page(path, &summary.page(&args.data))?;
    }
    Ok(Done::from_counts(found.answers.len(), found.failed.len()))
}

/// What is reported, in whatever form.
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
    /// A row a true class, a column a predicted one.
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

    fn page(&self, data: &Path) -> String {
        let Self { found, confusion, calibration, .. } = self;
        let headline = |name, value, note: String| Headline { name, value, note };
        let headlines = [
            headline("Accuracy", percent(confusion.accuracy()), format!("of {} images", found.answers.len())),
            headline("Top-5", percent(found.top_accuracy()), "true class among the five likeliest".into()),
            headline("Mean F1", format!("{:.3}", confusion.macro_average().f1), "each class alike".into()),
            headline("Calibration error", percent(calibration.error), "expected".into()),
            headline("Classes", found.labels.len().to_string(), "in the model".into()),
        ];
        let image = |index: usize| -> Option<(String, RgbImage)> {
            let path = &found.paths[index];
            let name = path.strip_prefix(data).unwrap_or(path).display().to_string();
            Some((name, decode::file(path).ok()?))
        };
        let evaluated = Evaluated { split: "evaluated", answers: &found.answers, image: &image };
        let body = html! {
            (evaluation(&evaluated, confusion, &found.labels))
            (section(
                "Calibration",
                "How often an answer was right, by how sure it was. Below the line it is too sure of itself.",
                &reliability(calibration),
            ))
        };
        let title = data.file_name().map_or_else(|| self.data.clone(), |name| name.display().to_string());
        page(&title, &format!("{} on {}", self.model, self.provider), &headlines, &body)
    }
}
