//! Verification of a model file by its [certificate](ferronnx_models::certificate).
//!
//! The certificate is recomputed where the file is used. It shows whether the file is unchanged since its export, and
//! whether the network computes the same on this machine.
//!
//! These are two questions. On a GPU, rounding may move logits further than a small change of the weights does, so the
//! file runs on the CPU too: there, in full arithmetic, the tolerance is that of the export, and on the GPU it follows
//! from the [precision of the file and the arithmetic](Tolerance).

use std::path::Path;

use ferronnx_models::card::Precision;
use ferronnx_models::certificate::{CERTIFICATE_KEY, CardDigests, Certificate, Compared, Golden};
use ferronnx_models::onnx::WeightsDigest;
use ferronnx_models::parity::{Comparison, Parity, Worst};
use ferronnx_models::tolerance::{Arithmetic, Tolerance};
use image::RgbImage;
use ndarray::{Array2, ArrayD, ArrayView2};
use serde::Serialize;

use crate::classifier::read_card;
use crate::decode;
use crate::device::{Device, Provider};
use crate::error::{ModelError, Result, few};
use crate::model_error::GoldenError;
use crate::preprocess::{Batch, Preprocessor};
use crate::runtime;
use crate::session::{self, Optimization, Options, Session};

/// Largest difference of a prepared image between machines, in levels of 255.
///
/// Vector instructions round differently: by one level in decoding and by one in resizing.
pub const LEVELS: u8 = 2;

/// Result of a verification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Execution provider of the network, by ONNX Runtime's name.
    pub provider: &'static str,
    /// Reason why the network did not run on a GPU, see [`Session::warning`].
    #[serde(skip)]
    pub warning: Option<String>,
    /// Library and version that ran the network.
    pub runtime: String,
    /// Library, version and provider that ran it at the export.
    pub exported_with: String,
    /// Number of tensors in the file.
    pub tensors: usize,
    /// SHA-256 of the weights, in hexadecimal.
    pub sha256: String,
    /// Names of the tensors that changed, were added or are missing.
    pub changed_tensors: Vec<String>,
    /// True if the labels are unchanged and in the same order.
    pub labels: bool,
    /// True if the preprocessing is unchanged.
    pub preprocessing: bool,
    /// True if what the outputs mean is unchanged: activation, threshold and roles.
    pub outputs: bool,
    /// Largest difference of each golden image after preprocessing, in levels of 255.
    pub levels: Vec<u8>,
    /// Comparison of the golden images' logits with libtorch's.
    pub agreement: Parity,
    /// Logit with the largest difference.
    pub worst: Option<Worst>,
    /// Names of the classes.
    #[serde(skip)]
    pub classes: Vec<String>,
    /// Comparison at the export, on more images.
    pub exported_agreement: Parity,
    /// Device and arithmetic of that comparison.
    pub exported_compared: Compared,
    /// Precision of the file.
    pub precision: Precision,
    /// Arithmetic of the session.
    pub arithmetic: Arithmetic,
    /// Largest difference allowed, relative to the largest logit.
    pub tolerance: f64,
    /// Largest root mean square of the differences allowed, relative to the largest logit.
    pub rms_tolerance: f64,
    /// Reason for the tolerance: precision and arithmetic, or that it was given.
    pub tolerance_reason: String,
    /// The file on the CPU in full arithmetic; none where the session itself runs there.
    pub cpu: Option<OnCpu>,
}

/// Result of running the file on the CPU beside another device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnCpu {
    /// Comparison of the CPU's logits with libtorch's.
    pub agreement: Parity,
    /// Logit with the largest difference.
    pub worst: Option<Worst>,
    /// Largest difference allowed, relative to the largest logit.
    pub tolerance: f64,
    /// Largest root mean square of the differences allowed, relative to the largest logit.
    pub rms_tolerance: f64,
    /// Comparison of the device's logits with the CPU's.
    pub device_difference: Parity,
}

impl Verification {
    /// Verifies the file at `path`.
    ///
    /// `tolerance` replaces the allowed differences, which follow from the certificate, the precision of the file and the
    /// arithmetic of the session.
    ///
    /// # Errors
    /// Those of [`Session::from_file`], and [`Model`](crate::ErrorKind::Model) when the file has no certificate, or its
    /// card or certificate cannot be used. A certificate that does not hold is no error, see [`holds`](Self::holds).
    pub fn of_file(path: impl AsRef<Path>, options: &Options, tolerance: Option<f64>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = session::read(path)?;
        Self::of_bytes(&bytes, options, tolerance).map_err(|error| error.at_model(path))
    }

    /// Verifies `bytes`, the content of a file.
    ///
    /// # Errors
    /// Those of [`of_file`](Self::of_file), without a path.
    pub fn of_bytes(bytes: &[u8], options: &Options, tolerance: Option<f64>) -> Result<Self> {
        Self::of_session(bytes, &Session::from_bytes(bytes, options)?, tolerance)
    }

    /// Verifies `bytes`, the content of the file that `session` runs. Where that is not on the CPU, a second session runs
    /// the file there.
    ///
    /// # Errors
    /// Those of [`of_file`](Self::of_file) about the content.
    pub fn of_session(bytes: &[u8], session: &Session, tolerance: Option<f64>) -> Result<Self> {
        Self::in_arithmetic(bytes, session, session.arithmetic(), tolerance)
    }

    /// Verifies `bytes`, the content of the file that `session` runs, where something else than its options decides on the
    /// arithmetic of `session`, such as an environment variable of CUDA.
    ///
    /// # Errors
    /// Those of [`of_session`](Self::of_session).
    pub fn in_arithmetic(
        bytes: &[u8],
        session: &Session,
        arithmetic: Arithmetic,
        tolerance: Option<f64>,
    ) -> Result<Self> {
        let text = session.metadata(CERTIFICATE_KEY).ok_or(ModelError::NoCertificate)?;
        let certificate = Certificate::from_json(&text).map_err(ModelError::from)?;
        let card = read_card(session)?;
        let weights = WeightsDigest::of_file(bytes).map_err(ModelError::from)?;
        let digests = CardDigests::of(&card);

        let preprocessor = Preprocessor::new(&card.preprocessing);
        let goldens = goldens(&certificate.goldens, &preprocessor).map_err(ModelError::from)?;
        let allowed = |arithmetic| match tolerance {
            Some(given) => Tolerance::of_each(given),
            None => Tolerance::of_certificate(&certificate, card.precision, arithmetic),
        };
        let (here, in_full) = (allowed(arithmetic), allowed(Arithmetic::Full));
        let prepared: Vec<&RgbImage> = goldens.iter().map(|golden| &golden.prepared).collect();
        let batch = preprocessor.batch(&prepared, card.input);
        let found = matrix(session.run(&preprocessor.batch(&prepared, session.input_form(card.input)))?)?;
        let expected = logits(&certificate.goldens, found.dim())?;
        let comparison = compared(found.view(), expected.view(), here);
        let is_reference = session.provider() == Provider::Cpu.name() && arithmetic == Arithmetic::Full;
        let cpu = match is_reference {
            true => None,
            false => Some(OnCpu::new(&on_cpu(bytes, &batch)?, &found, &expected, [in_full, here])),
        };

        let mut changed = certificate.weights.differing(&weights);
        // Every tensor is as it was, and the whole is not.
        if changed.is_empty() && certificate.weights.sha256 != weights.sha256 {
            changed.push("a name that occurs twice");
        }
        Ok(Self {
            provider: session.provider(),
            warning: session.warning().map(str::to_owned),
            runtime: format!("ONNX Runtime {}", runtime::load(None)?.version()),
            tensors: weights.tensors.len(),
            changed_tensors: changed.into_iter().map(str::to_owned).collect(),
            labels: digests.labels == certificate.card.labels,
            preprocessing: digests.preprocessing == certificate.card.preprocessing,
            outputs: digests.outputs == certificate.card.outputs,
            levels: goldens.iter().map(|golden| golden.levels).collect(),
            agreement: comparison.parity(),
            worst: comparison.worst(),
            classes: card.labels,
            tolerance: here.max,
            rms_tolerance: here.rms,
            tolerance_reason: match tolerance {
                Some(_) => "as given".into(),
                None => format!("{} in {arithmetic}", card.precision),
            },
            precision: card.precision,
            arithmetic,
            cpu,
            sha256: weights.sha256,
            exported_agreement: certificate.agreement,
            exported_compared: certificate.compared,
            exported_with: certificate.runtime,
        })
    }

    /// Tells whether the file is unchanged and computes the same.
    pub fn holds(&self) -> bool {
        self.failures().is_empty()
    }

    /// Failures, one sentence each; none if the certificate holds.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut require = |holds: bool, failure: &dyn Fn() -> String| {
            if !holds {
                failures.push(failure());
            }
        };
        require(self.changed_tensors.is_empty(), &|| {
            format!("the weights were changed: {}", few(&self.changed_tensors))
        });
        require(self.labels, &|| "the labels or their order were changed".into());
        require(self.preprocessing, &|| "the preprocessing was changed".into());
        require(self.outputs, &|| "what the outputs mean was changed".into());
        let levels = self.levels.iter().copied().max().unwrap_or(0);
        require(levels <= LEVELS, &|| {
            format!("decoding and resizing differ by {levels} of 255 (allowed {LEVELS})")
        });
        let here = Tolerance::new(self.tolerance, self.rms_tolerance);
        require(self.agreement.holds(here), &|| self.difference(&self.agreement, here, self.worst));
        if let Some(cpu) = &self.cpu {
            let allowed = Tolerance::new(cpu.tolerance, cpu.rms_tolerance);
            require(cpu.agreement.holds(allowed), &|| {
                let difference = self.difference(&cpu.agreement, allowed, cpu.worst);
                format!("on the CPU, in full arithmetic, {difference}")
            });
        }
        failures
    }

    /// Sentence about logits that differ by more than is allowed.
    fn difference(&self, found: &Parity, allowed: Tolerance, worst: Option<Worst>) -> String {
        let farthest = worst.map_or_else(String::new, |worst| {
            let class = self.classes.get(worst.class).map_or("", String::as_str);
            let Worst { found, reference, .. } = worst;
            format!(": farthest is image {}, {class}: {found} instead of {reference}", worst.image + 1)
        });
        format!(
            "the logits differ from libtorch's by {:.1e} of the largest (allowed {:.0e}), {:.1e} in the root mean square \
             (allowed {:.0e}), and {} of {} images have the same class{farthest}",
            found.max_relative_difference,
            allowed.max,
            found.rms_relative_difference,
            allowed.rms,
            found.agreeing,
            found.images
        )
    }
}

impl OnCpu {
    /// Compares logits `[N, classes]` of the CPU with `expected`, and the device's with the CPU's.
    fn new(
        cpu: &Array2<f32>,
        device: &Array2<f32>,
        expected: &Array2<f32>,
        [allowed, between]: [Tolerance; 2],
    ) -> Self {
        let comparison = compared(cpu.view(), expected.view(), allowed);
        Self {
            agreement: comparison.parity(),
            worst: comparison.worst(),
            tolerance: allowed.max,
            rms_tolerance: allowed.rms,
            device_difference: compared(device.view(), cpu.view(), between).parity(),
        }
    }
}

/// Runs the content of a file on the CPU, and returns logits `[N, classes]`.
fn on_cpu(bytes: &[u8], batch: &Batch) -> Result<Array2<f32>> {
    let options = Options::default().device(Device::Cpu).optimization(Optimization::Quick);
    Ok(matrix(Session::from_bytes(bytes, &options)?.run(batch)?)?)
}

/// Compares logits `[N, classes]` with `reference`.
fn compared(found: ArrayView2<'_, f32>, reference: ArrayView2<'_, f32>, allowed: Tolerance) -> Comparison {
    let mut comparison = Comparison::new(allowed.max);
    comparison.add(found, reference, None);
    comparison
}

/// Golden image, preprocessed on this machine.
struct Recomputed {
    /// Result of the preprocessing at the export.
    prepared: RgbImage,
    /// Largest difference between that and the result on this machine, in levels of 255.
    levels: u8,
}

fn goldens(
    goldens: &[Golden],
    preprocessor: &Preprocessor,
) -> std::result::Result<Vec<Recomputed>, GoldenError> {
    if goldens.is_empty() {
        return Err(GoldenError::Missing);
    }
    let image = |encoded: &[u8]| decode::bytes(encoded).map_err(|error| GoldenError::Image(error.into()));
    let recompute = |golden: &Golden| {
        let here = preprocessor.prepare(&image(&golden.image.0)?);
        let prepared = image(&golden.prepared.0)?;
        if prepared.dimensions() != here.dimensions() {
            let ((width, height), size) = (prepared.dimensions(), preprocessor.size());
            return Err(GoldenError::Size { width, height, size });
        }
        let levels = here.as_raw().iter().zip(prepared.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        Ok(Recomputed { prepared, levels: levels.unwrap_or(0) })
    };
    goldens.iter().map(recompute).collect()
}

/// Output of the network as `[images, classes]`.
fn matrix(output: ArrayD<f32>) -> std::result::Result<Array2<f32>, ModelError> {
    let shape = output.shape().to_vec();
    Ok(output.into_dimensionality().map_err(|_| GoldenError::Output { shape })?)
}

/// Logits of libtorch for the golden images, `[images, classes]`.
fn logits(goldens: &[Golden], shape: (usize, usize)) -> std::result::Result<Array2<f32>, ModelError> {
    let logits = goldens.iter().flat_map(|golden| golden.logits.iter().copied()).collect();
    let expected = [shape.0, shape.1];
    Ok(Array2::from_shape_vec(shape, logits).map_err(|_| GoldenError::Logits { expected })?)
}

#[cfg(test)]
mod tests;
