//! Temperature of a classifier, fitted on validation logits (Guo et al. 2017, <https://arxiv.org/abs/1706.04599>).

use ferronnx_models::card::{CalibrationErrors, TemperatureScaling};
use ferronnx_report::calibration::Calibration;
use ferronnx_report::temperature::Logits;
use ferronnx_report::temperature::Truth;
pub use ferronnx_report::temperature::{FEW_IMAGES, TemperatureError};
use ndarray::Array2;

use crate::data::images::ImageSet;
use crate::task::Task;
use crate::trainer::Evaluation;

/// Logits of images with their true classes.
#[derive(Debug, Clone)]
pub struct Labelled<'a> {
    /// Logits `[N, classes]`.
    pub logits: &'a Array2<f32>,
    /// True classes of the same images.
    pub truth: TrueClasses,
}

/// True classes of images.
#[derive(Debug, Clone)]
pub enum TrueClasses {
    /// Index of the one true class of each image.
    Single(Vec<usize>),
    /// Truth of each class for each image, `[N, classes]`, image by image.
    Several(Vec<bool>),
}

impl<'a> Labelled<'a> {
    /// Takes the logits of an evaluation of `set`.
    pub fn of(evaluation: &'a Evaluation, set: &ImageSet, task: Task) -> Self {
        let images = evaluation.predictions.iter().map(|prediction| prediction.index);
        let classes = 0..evaluation.logits.ncols();
        let truth = match task {
            Task::SingleLabel => TrueClasses::Single(images.map(|image| set.label(image)).collect()),
            Task::MultiLabel => {
                let row = |image| classes.clone().map(move |class| set.labels(image).contains(&class));
                TrueClasses::Several(images.flat_map(row).collect())
            }
        };
        Self { logits: &evaluation.logits, truth }
    }

    fn with<T>(&self, of: impl FnOnce(Logits<'_>) -> T) -> T {
        let logits = self.logits.as_standard_layout();
        let values = logits.as_slice().expect("the standard layout is one slice");
        let truth = match &self.truth {
            TrueClasses::Single(classes) => Truth::Class(classes),
            TrueClasses::Several(labels) => Truth::Labels(labels),
        };
        of(Logits { classes: logits.ncols(), values, truth })
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
    validation: &Labelled<'_>,
    test: Option<&Labelled<'_>>,
) -> Result<TemperatureScaling, TemperatureError> {
    let temperature = validation.with(|logits| logits.fit())? as f32;
    Ok(TemperatureScaling {
        temperature,
        validation: validation.errors(temperature),
        test: test.map(|test| test.errors(temperature)),
    })
}
