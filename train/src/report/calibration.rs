//! Section about calibration: reliability, and the temperature that improves it.

use ferronnx_models::card::{CalibrationErrors, TemperatureScaling};
use ferronnx_report::calibration::Calibration;
use ferronnx_report::html::calibration::reliability;
use ferronnx_report::html::charts::significant;
use ferronnx_report::html::page::{percent, section};
use maud::{Markup, html};

use crate::temperature::{FEW_IMAGES, TemperatureError};

/// Calibration of the evaluated images, and the temperature fitted on the validation images.
#[derive(Debug, Clone)]
pub struct Calibrated<'a> {
    /// Name of the evaluated split, `test` or `validation`.
    pub split: &'a str,
    /// Calibration of the network's own probabilities.
    pub before: Calibration,
    /// Calibration after division of the logits by the temperature, if there is one.
    pub after: Option<Calibration>,
    /// The temperature, or the reason why there is none.
    pub temperature: &'a Result<TemperatureScaling, TemperatureError>,
}

impl Calibrated<'_> {
    /// Renders the reliability diagram, with the calibration errors before and after temperature scaling.
    pub(super) fn render(&self) -> Markup {
        let explanation = format!(
            "Share that is right by the probability that the model gives, for the {} images. Below the line it is overconfident.",
            self.split
        );
        let mut series = vec![("without temperature", &self.before)];
        series.extend(self.after.as_ref().map(|after| ("with temperature", after)));
        let content =
            html! { (reliability("share that is right, %", &series)) (temperature(self.temperature)) };
        section("Calibration", &explanation, &content)
    }
}

fn temperature(found: &Result<TemperatureScaling, TemperatureError>) -> Markup {
    let scaling = match found {
        Ok(scaling) => scaling,
        Err(error) => return html! { p.quiet { "No temperature was fitted: " (error) "." } },
    };
    let row = |name: &str, errors: &CalibrationErrors| {
        html! { tr {
            th scope="row" { (name) }
            td.number { (errors.images) }
            @for error in [errors.before, errors.after] { td.number { (percent(error)) } }
        } }
    };
    html! {
        p.quiet {
            "Divided by a temperature of " (significant(scaling.temperature.into()))
            ", the logits give the most likely probabilities of the validation images. "
            code { "train export --calibrate" } " makes it part of the file."
            @if scaling.validation.images < FEW_IMAGES {
                " " (scaling.validation.images) " images are few: the temperature depends on chance."
            }
        }
        table {
            thead { tr {
                th { "expected calibration error" }
                @for name in ["images", "before", "after"] { th.number { (name) } }
            } }
            tbody {
                (row("validation", &scaling.validation))
                @if let Some(test) = &scaling.test { (row("test", test)) }
            }
        }
    }
}
