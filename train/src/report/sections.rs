//! The parts of the page below the curves.

use maud::{Markup, html};

use super::Evaluated;
use super::charts::significant;
use super::curves::{phases as bands, range};
use super::matrix::confusion_matrix;
use super::modules::collapse;
use super::page::{percent, section};
use super::scores::{Confusion, Scores, mistakes};
use super::tiles::{Tile, tiles};
use crate::trainer::EpochMetrics;
use crate::trainer::PhaseRecord;

/// Most mistakes shown.
const MISTAKES: usize = 24;
/// More classes than this need the whole width for their matrix.
const PAIRED: usize = 16;

/// Confusion matrix, scores and mistakes.
pub fn evaluation(evaluated: &Evaluated<'_>, confusion: &Confusion, labels: &[String]) -> Markup {
    let split = evaluated.split;
    let matrix = section(
        "Confusion matrix",
        &format!(
            "Of the {split} pictures. The shade is the share of the row; blue is right, orange is wrong."
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
                    @for name in ["precision", "recall", "F1", "pictures"] { th.number { (name) } }
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
        .filter_map(|&index| Some((evaluated.answers[index], (evaluated.picture)(index)?)))
        .take(MISTAKES)
        .map(|(answer, (name, picture))| {
            let caption = html! {
                span.wrong { (labels[answer.predicted]) } " " (percent(answer.probability.into()))
                br; "is " (labels[answer.actual])
            };
            Tile { picture, name, caption }
        })
        .collect();
    if shown.is_empty() {
        return html! {};
    }
    let explanation = format!(
        "{} of {} {} pictures are mistaken; these are the {} most confident.",
        wrong.len(),
        evaluated.answers.len(),
        evaluated.split,
        shown.len()
    );
    section("Most confident mistakes", &explanation, &tiles(&shown))
}

/// What was trained and frozen, phase by phase.
pub fn phases(phases: &[PhaseRecord], metrics: &[EpochMetrics]) -> Markup {
    let bands = bands(metrics);
    let modules = |chosen: &[String], others: &[String]| {
        html! {
            @if chosen.is_empty() { "nothing" }
            @else if others.is_empty() { "everything" }
            @else { @for module in collapse(chosen, others) { code { (module) } " " } }
        }
    };
    let table = html! {
        div.scroll {
            table.phases {
                thead { tr {
                    @for name in ["phase", "epochs", "learning rate", "trained", "frozen", "batch norms that stand still"] {
                        th { (name) }
                    }
                } }
                tbody {
                    @for (index, phase) in phases.iter().enumerate() {
                        @let band = bands.get(index);
                        tr {
                            td { (index + 1) " " (phase.name) }
                            td.whole { @if let Some(band) = band { (range(band)) } @else { "–" } }
                            td.whole { @if let Some(band) = band { (rates(metrics, band.from, band.to)) } }
                            td { (modules(&phase.trained, &phase.frozen)) }
                            td { (modules(&phase.frozen, &phase.trained)) }
                            td title=(phase.frozen_norms.join(", ")) { (phase.frozen_norms.len()) }
                        }
                    }
                }
            }
        }
    };
    section("Phases", "", &table)
}

/// The learning rate of each group from the first to the last epoch of a phase.
fn rates(metrics: &[EpochMetrics], from: usize, to: usize) -> Markup {
    let find = |epoch: usize| metrics.iter().find(|metrics| metrics.epoch == epoch);
    let (Some(first), Some(last)) = (find(from), find(to)) else { return html! {} };
    html! {
        @for (group, rate) in &first.learning_rates {
            div {
                @if first.learning_rates.len() > 1 { (group) " " }
                (significant(*rate))
                @if let Some(end) = last.learning_rates.get(group).filter(|end| *end != rate) { " → " (significant(*end)) }
            }
        }
    }
}

/// The text of `config.toml`.
pub fn configuration(toml: &str) -> Markup {
    html! {
        section.long {
            details open { summary { "Configuration" } pre { code { (toml) } } }
        }
    }
}
