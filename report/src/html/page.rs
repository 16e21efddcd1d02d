//! Frame of an HTML report: header, headlines and sections.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Style sheet of all reports.
const STYLE: &str = include_str!("style.css");

/// Content security policy: the page may load nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Headline number at the top of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headline {
    /// Name of the number.
    pub name: &'static str,
    /// Number with its unit.
    pub value: String,
    /// Explanation below the number.
    pub note: String,
}

/// Renders a whole page.
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

/// Renders a section with an explanation below its title.
pub fn section(title: &str, explanation: &str, content: &Markup) -> Markup {
    html! {
        section {
            h2 { (title) }
            @if !explanation.is_empty() { p.quiet { (explanation) } }
            (content)
        }
    }
}

/// Formats a share as a percentage, `98.7 %`, that is not broken between lines.
pub fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}
