//! Temperature of a classifier, fitted on validation logits (Guo et al. 2017, <https://arxiv.org/abs/1706.04599>).

use ferronnx_models::card::{CalibrationErrors, TemperatureScaling};
use ferronnx_report::calibration::Calibration;
use ferronnx_report::temperature::Logits;
pub use ferronnx_report::temperature::{FEW_IMAGES, TemperatureError, Truth};
use ndarray::Array2;

/// Logits of labelled images.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// Logits `[N, classes]`.
    pub logits: &'a Array2<f32>,
    /// True classes of the same images.
    pub truth: Truth<'a>,
}

impl Labelled<'_> {
    fn with<T>(&self, of: impl FnOnce(Logits<'_>) -> T) -> T {
        let logits = self.logits.as_standard_layout();
        let values = logits.as_slice().expect("the standard layout is one slice");
        of(Logits { classes: logits.ncols(), values, truth: self.truth })
    }

    /// Calibration after division of the logits by a temperature.
    pub fn calibration(&self, temperature: f32) -> Calibration {
        self.with(|logits| logits.calibration(temperature.into()))
    }

    /// Calibration errors before and after division by a temperature.
    fn errors(&self, temperature: f32) -> CalibrationErrors {
        self.with(|logits| CalibrationErrors {
            images: logits.images(),
            before: logits.calibration(1.0).error,
            after: logits.calibration(temperature.into()).error,
        })
    }
}

/// Fits a temperature on validation images, and measures the calibration error before and after it, on test images too
/// where there are some.
///
/// # Errors
/// [`TemperatureError`] when the likelihood of the validation images has no maximum.
pub fn fit(
    validation: Labelled<'_>,
    test: Option<Labelled<'_>>,
) -> Result<TemperatureScaling, TemperatureError> {
    let temperature = validation.with(|logits| logits.fit())? as f32;
    Ok(TemperatureScaling {
        temperature,
        validation: validation.errors(temperature),
        test: test.map(|test| test.errors(temperature)),
    })
}
