//! Metrics compared with scikit-learn's and SciPy's, see `scikit_learn/generate.py`.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeMap;

use ferronnx_report::activation::{most_likely, sigmoid, softmax};
use ferronnx_report::interval::Interval;
use ferronnx_report::metrics::{Answer, Confusion, Scores};
use ferronnx_report::multi_label::{LabelScores, MultiLabel};
use ferronnx_report::ranking::{Averages, Ranking, Rankings};
use ferronnx_report::scored::Scored;
use ferronnx_report::temperature::{Logits, Truth};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    single: BTreeMap<String, Single>,
    several: BTreeMap<String, Several>,
    intervals: Vec<(usize, usize, f64, f64)>,
}

#[derive(Deserialize)]
struct Single {
    classes: usize,
    logits: Vec<f32>,
    actual: Vec<usize>,
    scores: [Vec<f64>; 3],
    r#macro: [f64; 3],
    weighted: [f64; 3],
    interval: [f64; 2],
    log_loss: f64,
    brier: f64,
    calibration_error: f64,
    ranking: Ranked,
    temperature: Option<f64>,
    temperature_loss: Option<f64>,
    temperature_error: Option<f64>,
}

#[derive(Deserialize)]
struct Several {
    classes: usize,
    logits: Vec<f32>,
    truth: Vec<bool>,
    r#macro: [f64; 3],
    weighted: [f64; 3],
    ranking: Ranked,
    calibration_error: f64,
    temperature: f64,
    temperature_loss: f64,
}

#[derive(Deserialize)]
struct Ranked {
    roc_auc: Vec<Option<f64>>,
    average_precision: Vec<Option<f64>>,
    roc_auc_averages: [Option<f64>; 3],
    average_precision_averages: [Option<f64>; 3],
    roc_curves: Vec<Vec<[f64; 2]>>,
}

fn expected() -> Expected {
    let packed = &include_bytes!("scikit_learn/expected.json.gz")[..];
    serde_json::from_reader(flate2::read::GzDecoder::new(packed)).unwrap()
}

fn close(what: &str, found: f64, right: f64) {
    assert!((found - right).abs() < 1e-9, "{what}: {found}, not {right}");
}

fn close_or_none(what: &str, found: Option<f64>, right: Option<f64>) {
    match (found, right) {
        (Some(found), Some(right)) => close(what, found, right),
        _ => assert_eq!(found, right, "{what}"),
    }
}

fn close_scores(what: &str, found: Scores, right: [f64; 3]) {
    for (found, right) in [found.precision, found.recall, found.f1].into_iter().zip(right) {
        close(what, found, right);
    }
}

fn close_averages(what: &str, found: Averages, right: [Option<f64>; 3]) {
    let Averages { macro_average, weighted_average, micro_average } = found;
    for (found, right) in [macro_average, weighted_average, micro_average].into_iter().zip(right) {
        close_or_none(what, found, right);
    }
}

/// Area under a curve, by trapezoids.
fn area(curve: &[[f64; 2]]) -> f64 {
    curve.windows(2).map(|pair| (pair[1][0] - pair[0][0]) * (pair[0][1] + pair[1][1]) / 2.0).sum()
}

/// True if `point` lies on a curve.
fn touches(curve: &[[f64; 2]], [x, y]: [f64; 2]) -> bool {
    curve.windows(2).any(|pair| {
        let [[x0, y0], [x1, y1]] = [pair[0], pair[1]];
        let within = |value: f64, a: f64, b: f64| (a - 1e-9..=b + 1e-9).contains(&value);
        let cross = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0);
        within(x, x0, x1) && within(y, y0, y1) && cross.abs() < 1e-9
    })
}

fn close_ranking(name: &str, found: &Rankings, right: &Ranked) {
    close_averages(name, found.roc_auc(), right.roc_auc_averages);
    close_averages(name, found.average_precision(), right.average_precision_averages);
    for (class, ranking) in found.classes.iter().enumerate() {
        close_or_none(name, ranking.roc_auc(), right.roc_auc[class]);
        close_or_none(name, ranking.average_precision(), right.average_precision[class]);
        close_curves(name, ranking, &right.roc_curves[class]);
    }
}

fn close_curves(name: &str, ranking: &Ranking, right: &[[f64; 2]]) {
    let (roc, steps) = (ranking.roc_curve(), ranking.precision_recall_curve());
    assert_eq!(roc.is_empty(), right.is_empty(), "{name}");
    assert!(right.iter().all(|&point| touches(&roc, point)), "{name}: {roc:?} {right:?}");
    close(name, area(&roc), ranking.roc_auc().unwrap_or(0.0));
    close(name, area(&steps), ranking.average_precision().unwrap_or(0.0));
}

#[test]
fn metrics_of_one_label_an_image() {
    for (name, case) in expected().single {
        let (mut scored, mut answers) = (Scored::new(case.classes), Vec::new());
        for (row, &actual) in case.logits.chunks(case.classes).zip(&case.actual) {
            let probabilities = softmax(row, 1.0);
            let predicted = most_likely(row);
            answers.push(Answer { actual, predicted, probability: probabilities[predicted] as f32 });
            scored.add(&probabilities, actual);
        }
        let confusion = Confusion::new(case.classes, &answers);
        for class in 0..case.classes {
            close_scores(&name, confusion.scores(class), case.scores.each_ref().map(|score| score[class]));
        }
        close_scores(&name, confusion.macro_average(), case.r#macro);
        close_scores(&name, confusion.weighted_average(), case.weighted);
        let Interval { low, high, .. } = Interval::wilson(confusion.correct(), answers.len()).unwrap();
        close(&name, low, case.interval[0]);
        close(&name, high, case.interval[1]);
        close_or_none(&name, scored.negative_log_likelihood(), Some(case.log_loss));
        close_or_none(&name, scored.brier_score(), Some(case.brier));
        close_ranking(&name, scored.rankings(), &case.ranking);

        let logits =
            Logits { classes: case.classes, values: &case.logits, truth: Truth::Class(&case.actual) };
        close(&name, logits.calibration(1.0).error, case.calibration_error);
        let temperature = logits.fit().ok();
        close_or_none(&name, temperature, case.temperature);
        let at = |metric: &dyn Fn(f64) -> f64| temperature.map(metric);
        close_or_none(&name, at(&|t| logits.negative_log_likelihood(t)), case.temperature_loss);
        close_or_none(&name, at(&|t| logits.calibration(t).error), case.temperature_error);
    }
}

#[test]
fn metrics_of_several_labels_an_image() {
    for (name, case) in expected().several {
        let rows = case.logits.chunks(case.classes).zip(case.truth.chunks(case.classes));
        let image = |(row, truth): (&[f32], &[bool])| {
            let probabilities: Vec<f64> = row.iter().map(|&logit| sigmoid(logit.into())).collect();
            LabelScores {
                selected: probabilities.iter().map(|&probability| probability >= 0.5).collect(),
                probabilities: probabilities.iter().map(|&probability| probability as f32).collect(),
                actual: truth.to_vec(),
            }
        };
        let images: Vec<LabelScores> = rows.map(image).collect();
        let found = MultiLabel::new(case.classes, &images);
        close_scores(&name, found.macro_average, case.r#macro);
        close_scores(&name, found.weighted_average, case.weighted);
        close_ranking(&name, &ferronnx_report::multi_label::rankings(case.classes, &images), &case.ranking);
        assert_eq!(found.mean_average_precision, found.average_precision.macro_average);

        let logits =
            Logits { classes: case.classes, values: &case.logits, truth: Truth::Labels(&case.truth) };
        close(&name, logits.calibration(1.0).error, case.calibration_error);
        let temperature = logits.fit().unwrap();
        close(&name, temperature, case.temperature);
        close(&name, logits.negative_log_likelihood(temperature), case.temperature_loss);
    }
}

#[test]
fn intervals_are_those_of_scipy() {
    for (part, whole, low, high) in expected().intervals {
        let found = Interval::wilson(part, whole).unwrap();
        close(&format!("{part} of {whole}"), found.low, low);
        close(&format!("{part} of {whole}"), found.high, high);
    }
    assert_eq!(Interval::wilson(0, 0), None);
}
