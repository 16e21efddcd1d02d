//! Confusion matrix as SVG.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::metrics::Confusion;

/// Largest number of classes for which cells show numbers. With more, the tooltip of a cell shows its number.
const MAX_NUMBERED: usize = 30;
/// Largest number of classes for which each cell has a tooltip; with more, the page would be many megabytes.
pub(super) const MAX_TOOLTIPS: usize = 200;
/// Number of shades of a matrix without tooltips.
const SHADES: usize = 6;
/// Number of letters of a label that fit beside the matrix.
const LABEL: usize = 16;

/// Renders a matrix with a row per true class and a column per predicted class; the shade is the share of the row.
///
/// `labels` has a name for each class.
pub fn confusion_matrix(confusion: &Confusion, labels: &[String]) -> Markup {
    let classes = confusion.classes();
    let cell = match classes {
        0..=12 => 36,
        13..=MAX_NUMBERED => 28,
        _ => 11,
    };
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).min(LABEL);
    let (font, left) = if classes > MAX_NUMBERED { (9, 22 + 5 * longest) } else { (12, 26 + 7 * longest) };
    let side = left + cell * classes + 2;
    let middle = left + cell * classes / 2;
    html! {
        div.scroll {
            // Narrow screens shrink it as far as it can be read, then scroll.
            svg.matrix viewBox=(format!("0 0 {side} {side}")) font-size=(font) role="img" aria-label="Confusion matrix"
                style=(format!("max-width:{side}px;min-width:{}px", side * 2 / 3)) {
                text.axis x=(middle) y="11" text-anchor="middle" { "predicted" }
                text.axis transform=(format!("translate(11 {middle}) rotate(-90)")) text-anchor="middle" { "actual" }
                @for (class, label) in labels.iter().enumerate() {
                    @let centre = left + class * cell + cell / 2;
                    text x=(left - 6) y=(centre + font / 3) text-anchor="end" { title { (label) } (shortened(label)) }
                    text transform=(format!("translate({} {}) rotate(-90)", centre + font / 3, left - 6)) {
                        title { (label) } (shortened(label))
                    }
                }
                rect.frame x=(left) y=(left) width=(cell * classes) height=(cell * classes) {}
                @if classes <= MAX_TOOLTIPS {
                    @for actual in 0..classes { @for predicted in 0..classes {
                        (draw_cell(confusion, labels, [actual, predicted], left, cell))
                    } }
                } @else { (draw_shades(confusion, left, cell)) }
            }
        }
    }
}

/// Draws all cells in a few shades, a path each: a small part of what cells with tooltips take.
fn draw_shades(confusion: &Confusion, left: usize, cell: usize) -> Markup {
    let mut paths = vec![String::new(); 2 * SHADES];
    for actual in 0..confusion.classes() {
        let support = confusion.support(actual).max(1);
        for predicted in 0..confusion.classes() {
            let count = confusion.count(actual, predicted);
            if count > 0 {
                let shade = (count * SHADES).div_ceil(support) - 1;
                let path = &mut paths[2 * shade + usize::from(actual == predicted)];
                let ([x, y], side) = ([predicted, actual].map(|class| left + class * cell), cell - 1);
                let _ = write!(path, "M{x} {y}h{side}v{side}h-{side}z");
            }
        }
    }
    html! {
        @for (index, path) in paths.iter().enumerate() {
            @if !path.is_empty() {
                @let opacity = 0.25 + 0.75 * (index / 2) as f64 / (SHADES - 1) as f64;
                g.cell.hit[index % 2 == 1] { path d=(path) fill-opacity=(format!("{opacity:.2}")) {} }
            }
        }
    }
}

/// Draws a cell with its tooltip.
fn draw_cell(
    confusion: &Confusion,
    labels: &[String],
    [actual, predicted]: [usize; 2],
    left: usize,
    cell: usize,
) -> Markup {
    let count = confusion.count(actual, predicted);
    // An empty cell needs no element, and most cells of a large matrix are empty.
    if count == 0 {
        return html! {};
    }
    let share = confusion.share(actual, predicted);
    // A pale cell without a number would look empty.
    let palest = if confusion.classes() <= MAX_NUMBERED { 0.06 } else { 0.2 };
    let [x, y] = [predicted, actual].map(|class| left + class * cell);
    html! {
        g.cell.hit[actual == predicted] {
            title {
                (labels[actual]) " taken for " (labels[predicted]) ": " (count) " of " (confusion.support(actual))
                (format!(" ({:.1} %)", 100.0 * share))
            }
            rect x=(x) y=(y) width=(cell - 1) height=(cell - 1) fill-opacity=(format!("{:.3}", palest + (1.0 - palest) * share)) {}
            @if confusion.classes() <= MAX_NUMBERED {
                text.strong[share > 0.5] x=(x + cell / 2) y=(y + cell / 2 + 4) text-anchor="middle"
                    font-size=(if count > 9_999 { 8 } else if count > 999 { 10 } else { 12 }) { (count) }
            }
        }
    }
}

/// Shortens a label to the letters that fit.
fn shortened(label: &str) -> String {
    if label.chars().count() <= LABEL {
        return label.into();
    }
    label.chars().take(LABEL - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Answer;

    fn matrix(classes: usize) -> String {
        let labels: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
        let answers = [(0, 0), (0, 0), (0, 1), (1, 1)];
        let answers = answers.map(|(actual, predicted)| Answer { actual, predicted, probability: 1.0 });
        confusion_matrix(&Confusion::new(classes, &answers), &labels).into_string()
    }

    #[test]
    fn every_cell_tells_its_count_and_share() {
        let svg = matrix(2);
        assert!(svg.contains("<title>class 0 taken for class 1: 1 of 3 (33.3 %)</title>"), "{svg}");
        assert_eq!(svg.matches(r#"class="cell hit""#).count(), 2);
        assert!(svg.contains(r#"class="strong""#) && svg.contains(">2</text>"), "{svg}");
    }

    #[test]
    fn numbers_are_left_out_of_a_large_matrix() {
        assert!(matrix(30).contains(">2</text>"));
        let large = matrix(100);
        assert!(!large.contains(">2</text>"));
        assert!(large.contains("class 0 taken for class 0: 2 of 3"));
        assert_eq!(large.matches(r#"class="cell"#).count(), 3);
    }

    #[test]
    fn a_huge_matrix_is_a_few_paths() {
        let huge = matrix(201);
        assert!(!huge.contains("taken for"));
        assert_eq!(huge.matches(r#"class="cell"#).count(), 3, "two shades of right and one of wrong");
        assert_eq!(huge.matches("h10v10h-10z").count(), 3);
    }

    #[test]
    fn long_names_are_shortened_and_told_whole() {
        assert_eq!(shortened("a very long label indeed"), "a very long lab…");
        assert_eq!(shortened("schön"), "schön");
    }
}
