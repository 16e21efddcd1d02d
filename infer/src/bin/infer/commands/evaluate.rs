//! Command `infer evaluate`: measures accuracy on labelled images.

mod multi_label;

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use ferronnx_infer::assume::Assumed;
use ferronnx_infer::classifier::Classifier;
use ferronnx_infer::data_set::DataSet;
use ferronnx_infer::device::short_name;
use ferronnx_infer::escape;
use ferronnx_infer::evaluate::{Evaluation, TOP};
use ferronnx_infer::files::{LeftOut, serialize_path};
use ferronnx_infer::image_folder::Split;
use ferronnx_infer::results::{Failed, Outcome};
use ferronnx_infer::session::Optimization;
use ferronnx_models::card::Activation;
use ferronnx_report::metrics::{Calibration, Confusion, Scores, mistakes};
use ferronnx_report::text;
use indicatif::ProgressBar;
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
    let mut data = DataSet::open(&args.data).context("--data")?;
    if classifier.is_multi_label() {
        let merged = data.merge_copies().context("--data")?;
        if merged.images > 0 {
            messages::line("note", &merged.to_string());
        }
    }
    let (split, images) = data.held_out().context("--data")?;
    if classifier.is_multi_label() {
        return multi_label::run(args, classifier, &data, split, &images);
    }
    let samples = data.samples(&images, &classifier.card().labels).context("--data")?;
    let progress = messages::progress(samples.len(), false);
    let start = Instant::now();
    let found = Evaluation::run(&classifier, &samples, |outcome| see(&progress, outcome))?;
    progress.finish_and_clear();
    let summary = Summary {
        subject: Subject::new(args, &classifier, &data, split, samples.len(), start),
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
        let subtitle = summary.subject.subtitle();
        messages::write_page(path, &ferronnx_infer::pages::evaluation(&found, &args.data, &subtitle))?;
    }
    Ok(Done::from_counts(found.answers.len(), found.failed.len()))
}

/// Counts an image, and reports it if it failed.
fn see(progress: &ProgressBar, outcome: &Outcome) {
    if let Outcome::Failed(failed) = outcome {
        messages::failed(progress, failed);
    }
    progress.inc(1);
}

/// Model and images of an evaluation, with its speed.
#[derive(Serialize)]
struct Subject<'a> {
    model: String,
    data: String,
    /// Part of the data set: `test`, `validation`, or null when it has no parts.
    split: Option<Split>,
    left_out: &'a LeftOut,
    provider: &'static str,
    activation: Activation,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    assumed: &'a [Assumed],
    images_per_second: f64,
    #[serde(skip)]
    set: &'a DataSet,
}

impl<'a> Subject<'a> {
    fn new(
        args: &EvaluateArgs,
        classifier: &'a Classifier,
        set: &'a DataSet,
        split: Option<Split>,
        images: usize,
        start: Instant,
    ) -> Self {
        Self {
            model: args.model.path().display().to_string(),
            data: set.source.display().to_string(),
            split,
            left_out: &set.left_out,
            provider: classifier.session().provider(),
            activation: classifier.activation(),
            assumed: classifier.assumed(),
            images_per_second: images as f64 / start.elapsed().as_secs_f64(),
            set,
        }
    }

    /// Lines for people: the model, the `images` that were classified and the `failed` ones, then `results`, then the
    /// speed.
    fn fields(&self, images: usize, failed: usize, results: &[(&'static str, String)]) -> String {
        let failed = if failed == 0 { String::new() } else { format!(", {failed} more failed") };
        let data = escape::path(&self.set.source);
        let mut fields = vec![
            ("model", escape::name(&self.model).into_owned()),
            ("images", format!("{images} of {data}{failed}")),
            ("chosen", self.chosen()),
            ("left out", self.left_out.to_string()),
        ];
        fields.extend_from_slice(results);
        let provider = short_name(self.provider);
        fields.push(("speed", format!("{:.1} images/s on {provider}", self.images_per_second)));
        fields.retain(|(_, value)| !value.is_empty());
        text::fields(&fields)
    }

    /// Says which images of the data set were chosen, and what its folders were taken for.
    fn chosen(&self) -> String {
        let part = self.split.map_or_else(String::new, |split| format!("the {split} images"));
        let parts = [part, self.set.description()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }

    #[cfg(feature = "report")]
    fn subtitle(&self) -> String {
        format!("{} on {}", self.model, self.provider)
    }
}

/// Row of a table with the scores of a class.
fn score_cells(name: &str, scores: &Scores) -> [String; 5] {
    let number = |score: f64| format!("{score:.3}");
    let Scores { precision, recall, f1, support } = *scores;
    [escape::name(name).into_owned(), number(precision), number(recall), number(f1), support.to_string()]
}

/// Evaluation with what its forms have in common.
struct Summary<'a> {
    subject: Subject<'a>,
    confusion: Confusion,
    calibration: Calibration,
    found: &'a Evaluation,
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    subject: &'a Subject<'a>,
    images: usize,
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
    #[serde(flatten, serialize_with = "serialize_path")]
    path: &'a Path,
    actual: &'a str,
    predicted: &'a str,
    probability: f32,
}

impl Summary<'_> {
    fn text(&self) -> String {
        let Self { found, confusion, calibration, .. } = self;
        let fields = self.subject.fields(
            found.answers.len(),
            found.failed.len(),
            &[
                ("accuracy", format!("{:.2} %", 100.0 * confusion.accuracy())),
                ("top-5", format!("{:.2} %", 100.0 * found.top_accuracy())),
                ("calibration", format!("{:.2} % expected error", 100.0 * calibration.error)),
            ],
        );
        let classes = confusion.worst_first().into_iter();
        let rows = classes.map(|(class, scores)| score_cells(&found.labels[class], &scores));
        let rows = rows.chain([score_cells("mean", &confusion.macro_average())]);
        let table = text::table(["class", "precision", "recall", "F1", "images"], rows);
        let mut parts = vec![fields, table];
        let confused = confusion.most_confused();
        if !confused.is_empty() {
            let line = |&(actual, predicted): &(usize, usize)| {
                let [actual_label, label] =
                    [actual, predicted].map(|class| escape::name(&found.labels[class]));
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
                path: &found.paths[index],
                actual: &labels[answer.actual],
                predicted: &labels[answer.predicted],
                probability: answer.probability,
            }
        };
        Json {
            subject: &self.subject,
            images: found.answers.len(),
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
