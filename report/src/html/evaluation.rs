//! Evaluation of a classifier on labelled images: confusion matrix, scores, mistakes.

use image::RgbImage;
use maud::{Markup, html};

use super::matrix::confusion_matrix;
use super::page::{percent, section};
use super::tiles::{Tile, tiles};
use crate::metrics::{Answer, Confusion, Scores, mistakes};

/// Largest number of mistakes shown.
const MISTAKES: usize = 24;
/// Largest number of classes whose matrix fits beside the scores.
const PAIRED: usize = 16;

/// Predictions for images that were not used in training.
#[derive(Clone)]
pub struct Evaluated<'a> {
    /// Name of the split, `test` or `validation`.
    pub split: &'a str,
    /// Prediction for each image.
    pub answers: &'a [Answer],
    /// Loads name and pixels of an image by its index; `None` if it cannot be read any more.
    pub image: &'a dyn Fn(usize) -> Option<(String, RgbImage)>,
}

impl std::fmt::Debug for Evaluated<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluated").field("split", &self.split).field("answers", &self.answers).finish()
    }
}

/// Renders the sections confusion matrix, classes and most confident mistakes.
pub fn evaluation(evaluated: &Evaluated<'_>, confusion: &Confusion, labels: &[String]) -> Markup {
    let split = evaluated.split;
    let matrix = section(
        "Confusion matrix",
        &format!(
            "For the {split} images. The shade is the share of the row; blue is right, orange is wrong."
        ),
        &confusion_matrix(confusion, labels),
    );
    let scores = section("Classes", "The lowest F1 first.", &scores_table(confusion, labels));
    html! {
        @if confusion.classes() <= PAIRED { div.pair { (matrix) (scores) } } @else { (matrix) (scores) }
        (worst_mistakes(evaluated, labels))
    }
}

fn scores_table(confusion: &Confusion, labels: &[String]) -> Markup {
    let row = |name: &str, scores: &Scores| {
        html! {
            tr {
                th scope="row" { (name) }
                @for score in [scores.precision, scores.recall, scores.f1] { td.number { (format!("{score:.3}")) } }
                td.number { (scores.support) }
            }
        }
    };
    html! {
        div.scroll.scores {
            table {
                thead { tr {
                    th { "class" }
                    @for name in ["precision", "recall", "F1", "images"] { th.number { (name) } }
                } }
                tbody { @for (class, scores) in confusion.worst_first() { (row(&labels[class], &scores)) } }
                tfoot { (row("mean", &confusion.macro_average())) }
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
