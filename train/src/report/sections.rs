//! Sections of the page below the curves: phases and configuration.

use ferronnx_report::html::charts::significant;
use ferronnx_report::html::page::section;
use maud::{Markup, html};

use super::curves::{phases as bands, range};
use super::modules::collapse;
use crate::trainer::EpochMetrics;
use crate::trainer::PhaseRecord;

/// Table of trained and frozen parameters, phase by phase.
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

/// Formats the learning rate of each group from the first to the last epoch of a phase.
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

/// Section with the text of `config.toml`.
pub fn configuration(toml: &str) -> Markup {
    html! {
        section.long {
            details open { summary { "Configuration" } pre { code { (toml) } } }
        }
    }
}
