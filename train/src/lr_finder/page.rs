//! HTML page of a learning-rate finder.

use ferronnx_report::html::axis::Axis;
use ferronnx_report::html::charts::{LineChart, Series, significant};
use ferronnx_report::html::page::{Headline, page as frame, section};
use maud::{Markup, html};

use super::LossCurve;

/// Multiple of the first loss above which losses are cut off: divergence would flatten the rest.
const CEILING: f64 = 1.5;

/// Renders the curve with its suggestion; `subtitle` says what was trained, `next` is the command to type next.
pub fn page(curve: &LossCurve, subtitle: &str, next: Option<&str>) -> String {
    let suggestion = curve.suggestion();
    let mut headlines = Vec::new();
    let mut headline = |name, rate: f64, note: &str| {
        headlines.push(Headline { name, value: significant(rate), note: note.into() });
    };
    if let Ok(found) = &suggestion {
        headline("Suggestion", found.learning_rate, "steepest descent of the smoothed loss");
        headline("Minimum / 10", found.minimum_tenth, "a tenth of the rate with the lowest loss");
        headline("Minimum", found.minimum, "rate with the lowest loss");
    }
    let body = html! {
        (section("Loss by learning rate", "", &content(curve)))
        @match (&suggestion, next) {
            (Err(reason), _) => (section("No suggestion", "", &html! { p { (reason) "." } })),
            (Ok(_), Some(next)) => (section("Next", "", &html! { pre { code { (next) } } })),
            (Ok(_), None) => {}
        }
    };
    frame("Learning-rate finder", subtitle, &headlines, &body)
}

fn content(curve: &LossCurve) -> Markup {
    let points = curve.points();
    let Some(first) = points.first() else {
        return html! { p { "The loss was not finite at the first step." } };
    };
    let ceiling = CEILING * first.loss;
    let shown = |loss: f64| if loss <= ceiling { loss } else { f64::NAN };
    let series = |name, loss: fn(&super::Point) -> f64| Series {
        name,
        points: points.iter().map(|point| (point.learning_rate, shown(loss(point)))).collect(),
    };
    let series = [series("smoothed", |point| point.smoothed), series("loss of the step", |point| point.loss)];
    let losses = series.iter().flat_map(|series| &series.points).map(|(_, loss)| *loss);
    let chart = LineChart {
        title: "Training loss",
        x_label: "learning rate",
        x: Axis::log(points.iter().map(|point| point.learning_rate)),
        y: Axis::linear(losses.filter(|loss| loss.is_finite()), [0.0, f64::INFINITY]),
        series: &series,
        bands: &[],
        mark: curve.suggestion().ok().map(|found| (found.learning_rate, "suggestion")),
    };
    html! {
        p.quiet {
            "One step at each of " (points.len()) " learning rates. The smoothed loss is an exponential moving average, "
            "without the bias of its start. The dotted line marks the suggestion. "
            @if curve.diverged() { "The test ended early, because the loss exploded; losses far above the first are not drawn." }
            @else { "The test reached its last rate." }
        }
        div.charts { (chart.render()) }
    }
}
