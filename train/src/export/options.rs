//! Options of an export, and the differences to libtorch that they allow.

use ferronnx_models::card::{InputForm, Precision};
use ferronnx_models::onnx::Opset;
use ferronnx_models::tolerance::{Arithmetic, Tolerance};

use super::Calibration;

/// Options of an export.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExportOptions {
    /// Version of the ONNX operators.
    pub opset: Opset,
    /// Precision of the computation.
    pub precision: Precision,
    /// Form of the input: floats or bytes.
    pub input: InputForm,
    /// True if [observed](ferronnx_models::Ops::observe) values, such as attention, become further outputs.
    pub observed: bool,
    /// True if the features that the last linear layer reads, `[N, C]`, become a further output.
    pub features: bool,
    /// True if the feature maps `[N, C, h, w]` whose means the last linear layer reads become a further output.
    pub feature_maps: bool,
    /// True if batch norm is folded into convolutions.
    pub fold: bool,
    /// Method of finding the ranges of values for int8.
    pub calibration: Calibration,
    /// Largest difference to libtorch, relative to the largest logit; `None` for [`Tolerance::of_export`].
    pub tolerance: Option<f64>,
    /// True if the logits are divided by a temperature: the card's, or else one that is fitted on the labelled images of
    /// the comparison.
    pub calibrate: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            opset: Opset::default(),
            precision: Precision::Fp32,
            input: InputForm::Float,
            observed: false,
            features: false,
            feature_maps: false,
            fold: true,
            calibration: Calibration::default(),
            tolerance: None,
            calibrate: false,
        }
    }
}

impl ExportOptions {
    /// Differences that are allowed on the images of the comparison.
    pub(super) fn allowed(&self) -> Tolerance {
        self.tolerance.map_or_else(|| Tolerance::of_export(self.precision), Tolerance::of_each)
    }

    /// Largest difference, relative to the largest logit, of a file whose logits are all close to libtorch's; two classes
    /// that are closer are a tie.
    pub(super) fn close(&self) -> f64 {
        self.tolerance.unwrap_or(Tolerance::of(self.precision, Arithmetic::Full).max)
    }

    /// Tolerance of the certificate of a file whose largest relative difference was `found`.
    pub(super) fn certified(&self, found: f64) -> f64 {
        /// Excess over what was found, for other machines.
        const EXCESS: f64 = 2.0;
        if self.tolerance.is_some() {
            self.close()
        } else {
            self.close().max(EXCESS * found).min(self.allowed().max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_allows_what_the_export_found() {
        let certified = |precision, tolerance, found| {
            ExportOptions { precision, tolerance, ..ExportOptions::default() }.certified(found)
        };
        assert_eq!(certified(Precision::Fp32, None, 5e-7), 1e-4);
        assert_eq!(certified(Precision::Int8, None, 0.01), 0.1);
        assert_eq!(certified(Precision::Int8, None, 0.3), 0.6);
        assert_eq!(certified(Precision::Int8, None, 1.5), 2.0);
        assert_eq!(certified(Precision::Int8, Some(3.0), 2.5), 3.0);
    }
}
