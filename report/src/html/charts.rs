//! Line charts as SVG; colours come from the style sheet of the page, in a light and a dark form.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::axis::Axis;

/// Line chart over epochs or any other numbers.
#[derive(Debug, Clone)]
pub struct LineChart<'a> {
    /// Title of the chart, with the unit of its values.
    pub title: &'a str,
    /// Label of the horizontal axis.
    pub x_label: &'a str,
    /// Horizontal axis; [`Axis::whole`] for integers such as epochs.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Lines of the chart.
    pub series: &'a [Series<'a>],
    /// Bands with a background of their own.
    pub bands: &'a [Band<'a>],
    /// Position of a marker, with its name.
    pub mark: Option<(f64, &'a str)>,
}

/// Line of a chart.
#[derive(Debug, Clone)]
pub struct Series<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// Points of the line; a value that is not finite leaves a gap.
    pub points: Vec<(f64, f64)>,
}

/// Band in the background, from one position to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band<'a> {
    /// Name of the band.
    pub name: &'a str,
    /// First position.
    pub from: usize,
    /// Last position.
    pub to: usize,
}

/// Width of a chart in SVG units, about the width of a phone in pixels.
const WIDTH: f64 = 400.0;
/// Height of a chart in SVG units.
const HEIGHT: f64 = 230.0;
/// Margin on the left.
const LEFT: f64 = 44.0;
/// Margin on the right.
const RIGHT: f64 = 8.0;
/// Margin at the top.
const TOP: f64 = 20.0;
/// Margin at the bottom.
const BOTTOM: f64 = 36.0;
/// Approximate width of a letter in a band's name.
const LETTER: f64 = 5.8;
/// Largest number of points of a line that are drawn as dots: more would touch.
const MAX_DOTS: usize = 30;

impl LineChart<'_> {
    /// Renders the chart as a figure with a legend.
    pub fn render(&self) -> Markup {
        html! {
            figure.chart {
                figcaption {
                    b { (self.title) }
                    span.legend {
                        @for (index, series) in self.series.iter().enumerate() {
                            span.{ "key s" (index % COLOURS) }.dotted[is_dotted(index)] { (series.name) }
                        }
                    }
                }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) {
                    (self.draw_bands())
                    (self.draw_axes())
                    (self.draw_mark())
                    @for (index, series) in self.series.iter().enumerate() { (self.draw_line(index, series)) }
                }
            }
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn draw_bands(&self) -> Markup {
        html! {
            @for (index, band) in self.bands.iter().enumerate() {
                @let (from, to) = (self.x(band.from as f64 - 0.5), self.x(band.to as f64 + 0.5));
                @let name = format!("{} {}", index + 1, band.name);
                g {
                    title { (name) ", " (self.x_label) " " (band.from) "–" (band.to) }
                    rect.band.odd[index % 2 == 1] x=(px(from)) y="0" width=(px(to - from)) height=(px(HEIGHT - BOTTOM)) {}
                    text.band x=(px((from + to) / 2.0)) y="13" text-anchor="middle" {
                        @if name.chars().count() as f64 * LETTER < to - from { (name) } @else { (index + 1) }
                    }
                }
            }
        }
    }

    fn draw_axes(&self) -> Markup {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        html! {
            @for tick in self.y.ticks() {
                @let y = self.y(tick.value);
                line.grid x1=(px(LEFT)) x2=(px(right)) y1=(px(y)) y2=(px(y)) {}
                text.tick x=(px(LEFT - 6.0)) y=(px(y + 4.0)) text-anchor="end" { (tick.label) }
            }
            @for tick in self.x.ticks() {
                text.tick x=(px(self.x(tick.value))) y=(px(bottom + 15.0)) text-anchor="middle" { (tick.label) }
            }
            text.tick x=(px((LEFT + right) / 2.0)) y=(px(bottom + 31.0)) text-anchor="middle" { (self.x_label) }
        }
    }

    fn draw_mark(&self) -> Markup {
        let Some((at, why)) = self.mark else { return html! {} };
        let x = self.x(at);
        html! {
            g.mark {
                title { (why) ": " (self.x_label) " " (significant(at)) }
                line x1=(px(x)) x2=(px(x)) y1=(px(TOP)) y2=(px(HEIGHT - BOTTOM)) {}
            }
        }
    }

    fn draw_line(&self, index: usize, series: &Series<'_>) -> Markup {
        let shown =
            series.points.iter().filter(|(_, value)| value.is_finite() && self.y.place(*value).is_finite());
        let marked = |at: f64| self.mark.is_some_and(|(mark, _)| mark == at);
        html! {
            g.{ "line s" (index % COLOURS) }.dotted[is_dotted(index)] {
                path d=(self.path(&series.points)) {}
                @for &(at, value) in shown {
                    circle.hidden[series.points.len() > MAX_DOTS && !marked(at)]
                        cx=(px(self.x(at))) cy=(px(self.y(value))) r=(if marked(at) { "4" } else { "2.5" }) {
                        title { (series.name) ", " (self.x_label) " " (significant(at)) ": " (significant(value)) }
                    }
                }
            }
        }
    }

    /// SVG path through the points, with gaps at values that are not finite.
    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        let mut command = 'M';
        for &(at, value) in points {
            let y = self.y(value);
            if !y.is_finite() {
                command = 'M';
                continue;
            }
            let _ = write!(path, "{command}{} {}", px(self.x(at)), px(y));
            command = 'L';
        }
        path
    }
}

/// Number of line colours in the style sheet; every second six lines are dotted.
const COLOURS: usize = 6;

/// True for lines whose colour has been used before.
fn is_dotted(index: usize) -> bool {
    index / COLOURS % 2 == 1
}

/// Formats a coordinate with one decimal, which is precise enough.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// Formats a number with four significant digits, without trailing zeros.
pub fn significant(value: f64) -> String {
    let decimals = if value == 0.0 { 0 } else { (3 - value.abs().log10().floor() as i32).clamp(0, 12) };
    if value != 0.0 && value.abs() < 1e-2 {
        return format!("{:e}", format!("{value:.3e}").parse::<f64>().unwrap_or(value));
    }
    let text = format!("{value:.0$}", decimals as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart<'a>(series: &'a [Series<'a>], bands: &'a [Band<'a>]) -> LineChart<'a> {
        LineChart {
            title: "Loss",
            x_label: "epoch",
            x: Axis::whole(1, 4),
            y: Axis::linear([0.0, 1.0], [0.0, 1.0]),
            series,
            bands,
            mark: Some((2.0, "best")),
        }
    }

    #[test]
    fn a_line_goes_through_its_points_and_leaves_gaps() {
        let series =
            [Series { name: "train", points: vec![(1.0, 1.0), (2.0, 0.0), (3.0, f64::NAN), (4.0, 0.5)] }];
        let svg = chart(&series, &[]).render().into_string();
        assert!(svg.contains(r#"d="M87.5 20.0L174.5 194.0M348.5 107.0""#), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("<title>train, epoch 2: 0</title>"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_band_too_narrow_for_its_name_shows_its_number() {
        let bands =
            [Band { name: "a name without end", from: 1, to: 1 }, Band { name: "short", from: 2, to: 4 }];
        let svg = chart(&[], &bands).render().into_string();
        assert!(svg.contains(">1</text>") && svg.contains(">2 short</text>"), "{svg}");
        assert!(svg.contains("<title>1 a name without end, epoch 1–1</title>"), "{svg}");
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.51236, 12.0, 1e-3, 2.5e-5, 100.0, 0.0, 98.7654, 12345.6];
        let texts: Vec<String> = numbers.into_iter().map(significant).collect();
        assert_eq!(texts, ["0.5124", "12", "1e-3", "2.5e-5", "100", "0", "98.77", "12346"]);
    }
}
