//! Evaluation of a classifier on labelled images: confusion matrix, scores, mistakes.

use image::RgbImage;
use maud::{Markup, html};

use super::curves::ranking_curves;
use super::matrix::{MAX_TOOLTIPS, confusion_matrix};
use super::page::{percent, section};
use super::tiles::{Tile, tiles};
use crate::metrics::{Answer, Confusion, Scores, mistakes};
use crate::ranking::{Averages, Ranking, Rankings};
use crate::scored::Scored;

/// Largest number of mistakes shown.
const MISTAKES: usize = 24;
/// Number of pairs of classes listed below a matrix without tooltips.
const CONFUSED: usize = 20;
/// Largest number of classes whose matrix fits beside the scores.
const PAIRED: usize = 16;

/// Predictions for images that were not used in training.
#[derive(Clone)]
pub struct Evaluated<'a> {
    /// Name of the split, `test` or `validation`.
    pub split: &'a str,
    /// Prediction for each image.
    pub answers: &'a [Answer],
    /// Probabilities of all classes for the same images, for ROC and precision-recall curves.
    pub scored: Option<&'a Scored>,
    /// Loads name and pixels of an image by its index; `None` if it cannot be read any more.
    pub image: &'a dyn Fn(usize) -> Option<(String, RgbImage)>,
}

impl std::fmt::Debug for Evaluated<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluated").field("split", &self.split).field("answers", &self.answers).finish()
    }
}

/// Renders the sections confusion matrix, classes, ROC and precision-recall curves, and most confident mistakes.
pub fn evaluation(evaluated: &Evaluated<'_>, confusion: &Confusion, labels: &[String]) -> Markup {
    let split = evaluated.split;
    let matrix = section(
        "Confusion matrix",
        &format!(
            "For the {split} images. The shade is the share of the row; blue is right, orange is wrong."
        ),
        &html! {
            (confusion_matrix(confusion, labels))
            @if confusion.classes() > MAX_TOOLTIPS { (most_confused(confusion, labels)) }
        },
    );
    let rankings = evaluated.scored.map(Scored::rankings);
    let explanation = match confusion.classes_without_images() {
        0 => "The lowest F1 first.".to_owned(),
        without => format!(
            "The lowest F1 first. {without} of {} classes have no image: their scores are undefined, and no mean has them.",
            confusion.classes()
        ),
    };
    let scores = section("Classes", &explanation, &scores_table(confusion, rankings, labels));
    html! {
        @if confusion.classes() <= PAIRED { div.pair { (matrix) (scores) } } @else { (matrix) (scores) }
        @if let Some(rankings) = rankings { (ranking_curves(rankings, labels)) }
        (worst_mistakes(evaluated, labels))
    }
}

/// Table of the classes that are confused most often, where cells have no tooltips.
fn most_confused(confusion: &Confusion, labels: &[String]) -> Markup {
    html! {
        table {
            thead { tr { th { "actual" } th { "predicted" } th.number { "images" } th.number { "of" } } }
            tbody {
                @for (actual, predicted) in confusion.most_confused().into_iter().take(CONFUSED) {
                    tr {
                        td { (labels[actual]) }
                        td { (labels[predicted]) }
                        td.number { (confusion.count(actual, predicted)) }
                        td.number { (confusion.support(actual)) }
                    }
                }
            }
        }
    }
}

fn scores_table(confusion: &Confusion, rankings: Option<&Rankings>, labels: &[String]) -> Markup {
    let number = |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.3}"));
    let row = |name: &str, scores: &Scores, areas: [Option<f64>; 2]| {
        let shares = scores.defined().map_or([None; 3], |scores| scores.map(Some));
        html! {
            tr {
                th scope="row" { (name) }
                @for score in shares { td.number { (number(score)) } }
                @if rankings.is_some() { @for area in areas { td.number { (number(area)) } } }
                td.number { (scores.support) }
            }
        }
    };
    let areas = |class: usize| {
        let ranking = rankings.map(|rankings| &rankings.classes[class]);
        [ranking.and_then(Ranking::roc_auc), ranking.and_then(Ranking::average_precision)]
    };
    let averages = |of: fn(&Averages) -> Option<f64>| {
        let found = rankings.map(|rankings| [rankings.roc_auc(), rankings.average_precision()]);
        found.map_or([None; 2], |found| found.each_ref().map(of))
    };
    html! {
        div.scroll.scores {
            table {
                thead { tr {
                    th { "class" }
                    @for name in ["precision", "recall", "F1"] { th.number { (name) } }
                    @if rankings.is_some() { @for name in ["ROC AUC", "AP"] { th.number { (name) } } }
                    th.number { "images" }
                } }
                tbody {
                    @for (class, scores) in confusion.worst_first() { (row(&labels[class], &scores, areas(class))) }
                }
                tfoot {
                    (row("mean", &confusion.macro_average(), averages(|all| all.macro_average)))
                    (row("weighted mean", &confusion.weighted_average(), averages(|all| all.weighted_average)))
                }
            }
        }
    }
}

fn worst_mistakes(evaluated: &Evaluated<'_>, labels: &[String]) -> Markup {
    let wrong = mistakes(evaluated.answers);
    let shown: Vec<Tile> = wrong
        .iter()
        .filter_map(|&index| Some((evaluated.answers[index], (evaluated.image)(index)?)))
        .take(MISTAKES)
        .map(|(answer, (name, image))| {
            let caption = html! {
                span.wrong { (labels[answer.predicted]) } " " (percent(answer.probability.into()))
                br; "is " (labels[answer.actual])
            };
            Tile { image, name, caption }
        })
        .collect();
    if shown.is_empty() {
        return html! {};
    }
    let explanation = format!(
        "{} of {} {} images are mistaken; these are the {} most confident.",
        wrong.len(),
        evaluated.answers.len(),
        evaluated.split,
        shown.len()
    );
    section("Most confident mistakes", &explanation, &tiles(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_thousand_classes_is_small() {
        let (classes, images) = (1_000, 50_000);
        let labels: Vec<String> = (0..classes).map(|class| format!("class number {class}")).collect();
        let mut scored = Scored::new(classes);
        let mut answers = Vec::new();
        for image in 0..images {
            let actual = image % classes;
            // Every third image is taken for a class that depends on it.
            let predicted = if image % 3 == 0 { (image * 7 + image / classes) % classes } else { actual };
            let rest = 0.4 / (classes - 1) as f64;
            let mut probabilities: Vec<f64> =
                (0..classes).map(|class| rest * (((image + class * 13) % 97) as f64 / 48.0)).collect();
            probabilities[predicted] = 0.6;
            scored.add(&probabilities, actual);
            answers.push(Answer { actual, predicted, probability: 0.6 });
        }
        let confusion = Confusion::new(classes, &answers);
        let image = |_: usize| None;
        let evaluated = Evaluated { split: "test", answers: &answers, scored: Some(&scored), image: &image };
        let html = evaluation(&evaluated, &confusion, &labels).into_string();
        assert!(html.len() < 1_500_000, "{} bytes", html.len());
        assert!(html.contains("1000 classes"), "the choice of curves is said");
        assert!(!html.contains("NaN"));
    }
}
