//! ROC and precision-recall curves as SVG.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::page::section;
use crate::ranking::{Averages, Point, Ranking, Rankings};

/// Largest number of classes that have a curve each; of more, the averages and the worst are drawn.
const ALL_CLASSES: usize = 10;
/// Number of classes with the smallest areas that are drawn where there are too many.
const WORST: usize = 5;
/// Places at which the curves of all classes are averaged.
const PLACES: usize = 200;
/// Distance, as a share of the axis, below which a point of a curve is not drawn.
const CLOSE: f64 = 0.005;

/// Width of a chart in SVG units.
const WIDTH: f64 = 400.0;
/// Height of a chart in SVG units.
const HEIGHT: f64 = 316.0;
/// Margin on the left.
const LEFT: f64 = 44.0;
/// Margin on the right.
const RIGHT: f64 = 8.0;
/// Margin at the top.
const TOP: f64 = 8.0;
/// Margin at the bottom.
const BOTTOM: f64 = 38.0;

/// Curve with its name and the area under it.
struct Curve {
    name: String,
    area: f64,
    points: Vec<Point>,
}

impl Curve {
    /// Name with the area, with as many decimals as elsewhere in reports.
    fn named(&self) -> String {
        format!("{} ({:.3})", self.name, self.area)
    }
}

/// Kind of a curve: its axes, and its values of a ranking.
struct Kind {
    title: &'static str,
    axes: [&'static str; 2],
    area: fn(&Ranking) -> Option<f64>,
    points: fn(&Ranking) -> Vec<Point>,
    averages: fn(&Rankings) -> Averages,
}

const KINDS: [Kind; 2] = [
    Kind {
        title: "ROC",
        axes: ["false positive rate", "true positive rate"],
        area: Ranking::roc_auc,
        points: Ranking::roc_curve,
        averages: Rankings::roc_auc,
    },
    Kind {
        title: "Precision and recall",
        axes: ["recall", "precision"],
        area: Ranking::average_precision,
        points: Ranking::precision_recall_curve,
        averages: Rankings::average_precision,
    },
];

/// Renders the section with the curves of each class against the rest; `labels` has a name for each class.
///
/// With more than ten classes it shows the averages and the five smallest areas.
pub fn ranking_curves(rankings: &Rankings, labels: &[String]) -> Markup {
    let classes = match labels.len() {
        0..=ALL_CLASSES => "Each class against the rest, with the area under its curve.".to_owned(),
        classes => format!(
            "Each of {classes} classes against the rest, with the area under its curve: averages, and the {WORST} \
             classes with the smallest areas."
        ),
    };
    let explanation = format!(
        "{classes} Of precision and recall the area is the average precision. Macro: the mean over classes; micro: all \
         decisions together. Points closer than {} % of an axis are left out.",
        100.0 * CLOSE
    );
    let content = html! {
        div.charts { @for kind in &KINDS { (chart(kind, &chosen(kind, rankings, labels))) } }
    };
    section("ROC and precision-recall curves", &explanation, &content)
}

/// Chooses the curves to draw, the averages first.
fn chosen(kind: &Kind, rankings: &Rankings, labels: &[String]) -> Vec<Curve> {
    let averages = (kind.averages)(rankings);
    let mut curves = Vec::new();
    if let Some(area) = averages.macro_average {
        curves.push(Curve { name: "macro".into(), area, points: mean_curve(kind, rankings) });
    }
    if let Some(area) = averages.micro_average {
        curves.push(Curve { name: "micro".into(), area, points: (kind.points)(&rankings.micro) });
    }
    let with_area = labels.iter().zip(&rankings.classes);
    let mut classes: Vec<_> =
        with_area.filter_map(|(label, one)| Some((label, one, (kind.area)(one)?))).collect();
    if labels.len() > ALL_CLASSES {
        classes.sort_by(|(_, _, a), (_, _, b)| a.total_cmp(b));
        classes.truncate(WORST);
    }
    curves.extend(classes.into_iter().map(|(label, ranking, area)| Curve {
        name: label.clone(),
        area,
        points: (kind.points)(ranking),
    }));
    curves
}

/// Mean of the curves of all classes, at equal distances along the horizontal axis.
fn mean_curve(kind: &Kind, rankings: &Rankings) -> Vec<Point> {
    let mut sums = vec![0.0; PLACES + 1];
    let mut count = 0.0;
    for ranking in rankings.classes.iter().filter(|ranking| (kind.area)(ranking).is_some()) {
        let points = (kind.points)(ranking);
        count += 1.0;
        for (place, sum) in sums.iter_mut().enumerate() {
            *sum += height(&points, place as f64 / PLACES as f64);
        }
    }
    let point = |(place, sum): (usize, f64)| [place as f64 / PLACES as f64, sum / count];
    sums.into_iter().enumerate().map(point).collect()
}

/// Height of a curve at `x`: between two points by a straight line, at a vertical piece its upper end.
fn height(points: &[Point], x: f64) -> f64 {
    let after = points.partition_point(|point| point[0] <= x);
    let last = &points[after.saturating_sub(1)];
    let Some(next) = points.get(after) else { return last[1] };
    let tops = points[..after].iter().rev().take_while(|point| point[0] == last[0]);
    let top = tops.map(|point| point[1]).fold(last[1], f64::max);
    if x == last[0] { top } else { last[1] + (next[1] - last[1]) * (x - last[0]) / (next[0] - last[0]) }
}

/// Leaves out points that are [`CLOSE`] to the one before; the ends stay.
fn thinned(points: &[Point]) -> Vec<Point> {
    let mut kept: Vec<Point> = Vec::new();
    for &point in points {
        let far = |last: &Point| (0..2).any(|axis| (point[axis] - last[axis]).abs() >= CLOSE);
        if kept.last().is_none_or(far) {
            kept.push(point);
        }
    }
    if let (Some(&end), true) = (points.last(), kept.last() != points.last()) {
        kept.push(end);
    }
    kept
}

fn chart(kind: &Kind, curves: &[Curve]) -> Markup {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    html! {
        figure.chart {
            figcaption { b { (kind.title) } }
            @if curves.is_empty() {
                p.quiet { "No class has images both of its own and of others: there is no curve." }
            } @else {
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(kind.title) {
                    @for tick in 0..=5 {
                        @let value = f64::from(tick) / 5.0;
                        @let [x, y] = place([value, value]);
                        line.grid x1=(LEFT) x2=(right) y1=(px(y)) y2=(px(y)) {}
                        line.grid x1=(px(x)) x2=(px(x)) y1=(TOP) y2=(bottom) {}
                        text.tick x=(LEFT - 6.0) y=(px(y + 4.0)) text-anchor="end" { (format!("{value:.1}")) }
                        text.tick x=(px(x)) y=(bottom + 15.0) text-anchor="middle" { (format!("{value:.1}")) }
                    }
                    text.tick x=((LEFT + right) / 2.0) y=(HEIGHT - 6.0) text-anchor="middle" { (kind.axes[0]) }
                    text.tick transform=(format!("translate(11 {}) rotate(-90)", (TOP + bottom) / 2.0)) text-anchor="middle" {
                        (kind.axes[1])
                    }
                    // The averages are drawn last, above the others.
                    @for (index, curve) in curves.iter().enumerate().rev() {
                        g.{ "line " (style(index)) } {
                            path d=(path(&thinned(&curve.points))) { title { (curve.named()) } }
                        }
                    }
                }
                p."legend below" {
                    @for (index, curve) in curves.iter().enumerate() {
                        span.{ "key " (style(index)) } { (curve.named()) } " "
                    }
                }
            }
        }
    }
}

/// Classes of the style sheet for a curve: six colours, then the same dotted.
fn style(index: usize) -> String {
    format!("s{}{}", index % 6, if index < 6 { "" } else { " dotted" })
}

/// Position of a point of the unit square.
fn place([x, y]: Point) -> Point {
    [LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)]
}

fn px(value: f64) -> String {
    format!("{value:.1}")
}

fn path(points: &[Point]) -> String {
    let mut path = String::new();
    for (index, &point) in points.iter().enumerate() {
        let ([x, y], command) = (place(point), if index == 0 { 'M' } else { 'L' });
        let _ = write!(path, "{command}{x:.1} {y:.1}");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rankings of images whose own class has the highest score, but for every `wrong`th.
    fn rankings(classes: usize, images: usize, wrong: usize) -> (Rankings, Vec<String>) {
        let row = |image: usize| -> Vec<f32> {
            let best = if image.is_multiple_of(wrong) { (image + 1) % classes } else { image % classes };
            let score = |class: usize| ((image * 31 + class * 17) % 101) as f32 / 202.0;
            (0..classes).map(|class| score(class) + if class == best { 0.5 } else { 0.0 }).collect()
        };
        let rows: Vec<Vec<f32>> = (0..images).map(row).collect();
        let found =
            Rankings::new(classes, rows.iter().map(Vec::as_slice), |image, class| image % classes == class);
        (found, (0..classes).map(|class| format!("class {class}")).collect())
    }

    #[test]
    fn few_classes_have_a_curve_each() {
        let (rankings, labels) = rankings(10, 500, 7);
        let html = ranking_curves(&rankings, &labels).into_string();
        assert_eq!(html.matches("<svg").count(), 2);
        assert_eq!(html.matches("<path").count(), 2 * 12, "macro, micro and ten classes");
        assert!(html.contains("false positive rate") && html.contains("recall"), "{html}");
        let macro_average = rankings.roc_auc().macro_average.unwrap();
        assert!(html.contains(&format!("macro ({macro_average:.3})")), "{html}");
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }

    #[test]
    fn of_many_classes_and_images_the_page_stays_small() {
        let (rankings, labels) = rankings(200, 20_000, 3);
        let html = ranking_curves(&rankings, &labels).into_string();
        assert_eq!(html.matches("<path").count(), 2 * 7, "macro, micro and the five worst");
        assert!(html.contains("200 classes"), "{html}");
        assert!(html.len() < 60_000, "{} bytes", html.len());
    }

    #[test]
    fn without_others_there_is_no_curve() {
        let rows = [[0.9_f32]];
        let rankings = Rankings::new(1, rows.iter().map(|row| &row[..]), |_, _| true);
        let html = ranking_curves(&rankings, &["only".into()]).into_string();
        assert!(html.contains("there is no curve"), "{html}");
    }

    #[test]
    fn a_thinned_curve_keeps_its_ends_and_its_shape() {
        let points: Vec<Point> =
            (0..=10_000).map(|n| [f64::from(n) / 1e4, (f64::from(n) / 1e4).sqrt()]).collect();
        let thin = thinned(&points);
        assert!(thin.len() < 400 && thin[0] == points[0] && thin.last() == points.last());
        for &[x, y] in &points {
            assert!((height(&thin, x) - y).abs() < 2.0 * CLOSE, "{x}");
        }
    }

    #[test]
    fn a_mean_has_the_mean_area() {
        let (rankings, _) = rankings(5, 300, 4);
        for kind in &KINDS {
            let mean = mean_curve(kind, &rankings);
            let area: f64 = mean.windows(2).map(|p| (p[1][0] - p[0][0]) * (p[0][1] + p[1][1]) / 2.0).sum();
            let right = (kind.averages)(&rankings).macro_average.unwrap();
            assert!((area - right).abs() < 0.01, "{}: {area} {right}", kind.title);
        }
    }
}
