//! The skeleton of a report: one file that asks for nothing else.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Colours, sizes and print rules of all reports.
const STYLE: &str = include_str!("style.css");

/// Forbids the page everything but what it holds itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// A number at the top of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headline {
    /// What it is.
    pub name: &'static str,
    /// The number with its unit.
    pub value: String,
    /// What it is of.
    pub note: String,
}

/// A whole page.
pub fn page(title: &str, subtitle: &str, headlines: &[Headline], body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.quiet { (subtitle) }
                    dl.headlines {
                        @for headline in headlines {
                            div {
                                dt { (headline.name) }
                                dd { b { (headline.value) } span.quiet { (headline.note) } }
                            }
                        }
                    }
                }
                main { (body) }
            }
        }
    }
    .into_string()
}

/// A part of the page, with a line that says how to read it.
pub fn section(title: &str, explanation: &str, content: &Markup) -> Markup {
    html! {
        section {
            h2 { (title) }
            @if !explanation.is_empty() { p.quiet { (explanation) } }
            (content)
        }
    }
}

/// A share as people read it, `98.7 %`, which stays on one line.
pub fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}
