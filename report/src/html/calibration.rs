//! Reliability diagram: accuracy by confidence.

use maud::{Markup, html};

use super::axis::Axis;
use super::charts::{LineChart, Series};
use crate::metrics::Calibration;

/// Renders the reliability diagram: accuracy of each confidence bin beside the diagonal of perfect calibration, and the
/// number of answers in each bin.
pub fn reliability(calibration: &Calibration) -> Markup {
    let filled: Vec<_> = calibration.bins.iter().filter(|bin| bin.images > 0).collect();
    let percent = |share: f64| (100.0 * share).round();
    let accuracy = filled.iter().map(|bin| (percent(bin.confidence), 100.0 * bin.accuracy)).collect();
    let images = filled.iter().map(|bin| (percent(bin.confidence), bin.images as f64)).collect();
    let chart = |title, y, series: &[Series<'_>]| {
        let (x_label, x) = ("confidence, %", Axis::whole(0, 100));
        LineChart { title, x_label, x, y, series, bands: &[], mark: None }.render()
    };
    let most = filled.iter().map(|bin| bin.images as f64);
    html! {
        div.charts {
            (chart("accuracy, %", Axis::linear([0.0, 100.0], [0.0, 100.0]), &[
                Series { name: "accuracy", points: accuracy },
                Series { name: "as confident", points: vec![(0.0, 0.0), (100.0, 100.0)] },
            ]))
            (chart("answers", Axis::linear(most.chain([0.0]), [0.0, f64::INFINITY]), &[
                Series { name: "answers", points: images },
            ]))
        }
    }
}
