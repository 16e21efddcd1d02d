//! Command `infer evaluate`: measures accuracy on labelled images.

mod images;
mod multi_label;
mod speed;

use std::io::{self, Write};
use std::path::Path;

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
use ferronnx_report::calibration::Calibration;
use ferronnx_report::interval::Interval;
use ferronnx_report::metrics::{Confusion, Scores, mistakes};
use ferronnx_report::ranking::Averages;
use ferronnx_report::text;
use indicatif::ProgressBar;
use serde::Serialize;

use super::model;
use crate::args::{EvaluateArgs, ReportFormat};
use crate::exit::Done;
use crate::messages;
use images::Images;
use speed::{Clock, Speed};

/// Number of pairs of classes to name, of those confused most often.
const CONFUSED: usize = 5;

/// Number of mistakes in JSON, the most confident ones.
const MISTAKES: usize = 24;

/// Classifies the images of `args.data` and prints the accuracy.
pub fn run(args: &EvaluateArgs) -> Result<Done> {
    #[cfg(feature = "report")]
    messages::check_page(args.report.as_ref())?;
    let builder = Classifier::builder().top_k(TOP).batch(args.batch).threshold(args.threshold);
    let builder = builder.assume(args.assume.assumptions()?);
    let classifier = model::classifier(&args.model, builder, Optimization::Full)?;
    let images = Images::open(args, &classifier)?;
    if classifier.is_multi_label() {
        return multi_label::run(args, &classifier, &images);
    }
    let progress = messages::progress(images.len(), false);
    let mut clock = Clock::start(&classifier);
    let found = images.evaluate(&classifier, |outcome| see(&mut clock, &progress, outcome))?;
    let speed = Speed::of(&classifier, &clock);
    progress.finish_and_clear();
    let summary = Summary {
        subject: Subject::new(args, &classifier, &images, speed),
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
fn see(clock: &mut Clock, progress: &ProgressBar, outcome: &Outcome) {
    clock.see();
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
    /// Part of the images, `I/N`.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<String>,
    left_out: &'a LeftOut,
    provider: &'static str,
    activation: Activation,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    assumed: &'a [Assumed],
    #[serde(flatten)]
    speed: Speed,
    #[serde(skip)]
    set: &'a DataSet,
}

impl<'a> Subject<'a> {
    fn new(args: &EvaluateArgs, classifier: &'a Classifier, images: &'a Images, speed: Speed) -> Self {
        let set = &images.data;
        Self {
            model: args.model.path().display().to_string(),
            data: set.source.display().to_string(),
            split: images.split,
            shard: images.shard.map(|shard| shard.to_string()),
            left_out: &set.left_out,
            provider: classifier.session().provider(),
            activation: classifier.activation(),
            assumed: classifier.assumed(),
            speed,
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
        fields.push(("speed", self.speed.text(provider)));
        fields.retain(|(_, value)| !value.is_empty());
        text::fields(&fields)
    }

    /// Says which images of the data set were chosen, and what its folders were taken for.
    fn chosen(&self) -> String {
        let part = self.split.map_or_else(String::new, |split| format!("the {split} images"));
        let shard =
            self.shard.as_ref().map_or_else(String::new, |shard| format!("of these, only shard {shard}"));
        let parts = [part, self.set.description(), shard];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }

    #[cfg(feature = "report")]
    fn subtitle(&self) -> String {
        format!("{} on {}", self.model, self.provider)
    }
}

/// Row of a table with the scores of a class.
fn score_cells(name: &str, scores: &Scores) -> [String; 5] {
    let [precision, recall, f1] = scores.defined().map_or([None; 3], |scores| scores.map(Some)).map(cell);
    [escape::name(name).into_owned(), precision, recall, f1, scores.support.to_string()]
}

/// Cell of a table with a number, or a dash where it is undefined.
fn cell(number: Option<f64>) -> String {
    number.map_or_else(|| "-".into(), |number| format!("{number:.3}"))
}

/// Text of the averages of a metric.
fn averages(found: &Averages) -> String {
    let Averages { macro_average, weighted_average, micro_average } = *found;
    let [macro_average, weighted, micro] = [macro_average, weighted_average, micro_average].map(cell);
    format!("{macro_average} macro, {weighted} weighted, {micro} micro")
}

/// Says how many classes have no image; empty if all have one.
fn without_images(classes: usize, all: usize) -> String {
    match classes {
        0 => String::new(),
        classes => format!("the scores of {classes} of {all} classes, which have no image; no mean has them"),
    }
}

/// Formats a share with its confidence interval.
fn share(share: f64, interval: Option<Interval>) -> String {
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    let interval = interval.map_or_else(String::new, |Interval { level, low, high }| {
        format!(" ({:.0} % interval {} to {} %)", 100.0 * level, percent(low), percent(high))
    });
    format!("{} %{interval}", percent(share))
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
    /// Wilson score interval, or null without images.
    accuracy_interval: Option<Interval>,
    top5_accuracy: f64,
    top5_interval: Option<Interval>,
    /// Mean in nats; null without images, or when a true class was given a probability of 0.
    negative_log_likelihood: Option<f64>,
    brier_score: Option<f64>,
    calibration: &'a Calibration,
    roc_auc: Averages,
    average_precision: Averages,
    macro_average: Scores,
    weighted_average: Scores,
    classes_without_images: usize,
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
    /// Area under the ROC curve of the class against the rest; null where it is undefined.
    roc_auc: Option<f64>,
    average_precision: Option<f64>,
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
                ("accuracy", share(confusion.accuracy(), found.accuracy_interval())),
                ("top-5", share(found.top_accuracy(), found.top_interval())),
                ("calibration", format!("{:.2} % expected error", 100.0 * calibration.error)),
                ("likelihood", self.likelihood()),
                ("ROC AUC", averages(&found.scored.rankings().roc_auc())),
                ("AP", averages(&found.scored.rankings().average_precision())),
                ("undefined", without_images(confusion.classes_without_images(), found.labels.len())),
            ],
        );
        let mut parts = vec![fields, self.table()];
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

    /// Text of the negative log-likelihood and the Brier score.
    fn likelihood(&self) -> String {
        let scored = &self.found.scored;
        let likelihood = scored.negative_log_likelihood();
        let likelihood =
            likelihood.map_or_else(|| "undefined".into(), |likelihood| format!("{likelihood:.4} nats"));
        let brier = scored.brier_score().map_or_else(|| "-".into(), |score| format!("{score:.4}"));
        format!("{likelihood} negative log-likelihood, {brier} Brier score")
    }

    /// Table of the scores of each class, the lowest F1 first.
    fn table(&self) -> String {
        let Self { found, confusion, .. } = self;
        let rankings = found.scored.rankings();
        let row = |name: &str, scores: &Scores, areas: [Option<f64>; 2]| {
            let [name, precision, recall, f1, support] = score_cells(name, scores);
            let [auc, average_precision] = areas.map(cell);
            [name, precision, recall, f1, auc, average_precision, support]
        };
        let rows = confusion.worst_first().into_iter().map(|(class, scores)| {
            let ranking = &rankings.classes[class];
            row(&found.labels[class], &scores, [ranking.roc_auc(), ranking.average_precision()])
        });
        let averages = [rankings.roc_auc(), rankings.average_precision()];
        let means = [
            row("mean", &confusion.macro_average(), averages.map(|average| average.macro_average)),
            row(
                "weighted mean",
                &confusion.weighted_average(),
                averages.map(|average| average.weighted_average),
            ),
        ];
        text::table(["class", "precision", "recall", "F1", "ROC AUC", "AP", "images"], rows.chain(means))
    }

    fn json(&self) -> Json<'_> {
        let Self { found, confusion, .. } = self;
        let rankings = found.scored.rankings();
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
            accuracy_interval: found.accuracy_interval(),
            top5_accuracy: found.top_accuracy(),
            top5_interval: found.top_interval(),
            negative_log_likelihood: found.scored.negative_log_likelihood(),
            brier_score: found.scored.brier_score(),
            calibration: &self.calibration,
            roc_auc: rankings.roc_auc(),
            average_precision: rankings.average_precision(),
            macro_average: confusion.macro_average(),
            weighted_average: confusion.weighted_average(),
            classes_without_images: confusion.classes_without_images(),
            classes: classes
                .clone()
                .map(|class| Class {
                    label: &labels[class],
                    scores: confusion.scores(class),
                    roc_auc: rankings.classes[class].roc_auc(),
                    average_precision: rankings.classes[class].average_precision(),
                })
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
