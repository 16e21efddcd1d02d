//! Reliability diagram: accuracy by confidence.

use maud::{Markup, html};

use super::axis::Axis;
use super::charts::{LineChart, Series};
use crate::calibration::{Calibration, CalibrationBin};

/// Renders the reliability diagram of named calibrations: accuracy of each confidence bin beside the diagonal of perfect
/// calibration, and the number of answers in each bin. `observed` names the accuracy and its unit, `accuracy, %`.
pub fn reliability(observed: &str, calibrations: &[(&str, &Calibration)]) -> Markup {
    let percent = |share: f64| (100.0 * share).round();
    let line = |value: fn(&CalibrationBin) -> f64| {
        let points = move |calibration: &Calibration| {
            let filled = calibration.bins.iter().filter(|bin| bin.images > 0);
            filled.map(|bin| (percent(bin.confidence), value(bin))).collect()
        };
        let series = calibrations.iter().map(move |&(name, one)| Series { name, points: points(one) });
        series.collect::<Vec<_>>()
    };
    let chart = |title, y, series: &[Series<'_>]| {
        let (x_label, x) = ("confidence, %", Axis::whole(0, 100));
        LineChart { title, x_label, x, y, series, bands: &[], mark: None }.render()
    };
    let mut accuracy = line(|bin| 100.0 * bin.accuracy);
    accuracy.push(Series { name: "as confident", points: vec![(0.0, 0.0), (100.0, 100.0)] });
    let answers = line(|bin| bin.images as f64);
    let most = calibrations.iter().flat_map(|(_, one)| &one.bins).map(|bin| bin.images as f64);
    html! {
        div.charts {
            (chart(observed, Axis::linear([0.0, 100.0], [0.0, 100.0]), &accuracy))
            (chart("answers", Axis::linear(most.chain([0.0]), [0.0, f64::INFINITY]), &answers))
        }
    }
}
