//! Verification of a model file by its [certificate](ferronnx_models::certificate).
//!
//! The certificate is recomputed where the file is used. It shows whether the file is unchanged since its export, and
//! whether the network computes the same on this machine.

use std::path::Path;

use ferronnx_models::certificate::{CERTIFICATE_KEY, CardDigests, Certificate, Golden};
use ferronnx_models::onnx::WeightsDigest;
use ferronnx_models::parity::{Comparison, Parity, Worst};
use image::RgbImage;
use ndarray::{Array2, ArrayD};
use serde::Serialize;

use crate::classifier::read_card;
use crate::decode;
use crate::error::{ModelError, Result, few};
use crate::model_error::GoldenError;
use crate::preprocess::Preprocessor;
use crate::runtime;
use crate::session::{self, Options, Session};

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
    /// Largest difference allowed, relative to the largest logit.
    pub tolerance: f64,
}

impl Verification {
    /// Verifies the file at `path`.
    ///
    /// `tolerance` replaces the certificate's: hardware with less precision, such as TensorFloat-32, may need a larger one.
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

    /// Verifies `bytes`, the content of the file that `session` runs.
    ///
    /// # Errors
    /// Those of [`of_file`](Self::of_file) about the content.
    pub fn of_session(bytes: &[u8], session: &Session, tolerance: Option<f64>) -> Result<Self> {
        let text = session.metadata(CERTIFICATE_KEY).ok_or(ModelError::NoCertificate)?;
        let certificate = Certificate::from_json(&text).map_err(ModelError::from)?;
        let card = read_card(session)?;
        let weights = WeightsDigest::of_file(bytes).map_err(ModelError::from)?;
        let digests = CardDigests::of(&card);

        let preprocessor = Preprocessor::new(&card.preprocessing);
        let goldens = goldens(&certificate.goldens, &preprocessor).map_err(ModelError::from)?;
        let tolerance = tolerance.unwrap_or(certificate.tolerance);
        let prepared: Vec<&RgbImage> = goldens.iter().map(|golden| &golden.prepared).collect();
        let found = matrix(session.run(&preprocessor.batch(&prepared, session.input_form(card.input)))?)?;
        let expected = logits(&certificate.goldens, found.dim())?;
        let mut comparison = Comparison::new(tolerance);
        comparison.add(found.view(), expected.view(), None);

        let mut changed = certificate.weights.differing(&weights);
        // Every tensor is as it was, and the whole is not.
        if changed.is_empty() && certificate.weights.sha256 != weights.sha256 {
            changed.push("a name that occurs twice");
        }
        Ok(Self {
            provider: session.provider(),
            warning: session.warning().map(str::to_owned),
            runtime: format!("ONNX Runtime {}", runtime::load(None)?.version()),
            exported_with: certificate.runtime.clone(),
            tensors: weights.tensors.len(),
            changed_tensors: changed.into_iter().map(str::to_owned).collect(),
            labels: digests.labels == certificate.card.labels,
            preprocessing: digests.preprocessing == certificate.card.preprocessing,
            outputs: digests.outputs == certificate.card.outputs,
            levels: goldens.iter().map(|golden| golden.levels).collect(),
            agreement: comparison.parity(),
            worst: comparison.worst(),
            classes: card.labels,
            exported_agreement: certificate.agreement,
            tolerance,
            sha256: weights.sha256,
        })
    }

    /// Tells whether the file is unchanged and computes the same.
    pub fn holds(&self) -> bool {
        self.failures().is_empty()
    }

    /// Failures, one sentence each; none if the certificate holds.
    pub fn failures(&self) -> Vec<String> {
        let Self { agreement, tolerance, .. } = self;
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
        require(agreement.holds(*tolerance), &|| {
            let farthest = self.worst.map_or_else(String::new, |worst| {
                let class = self.classes.get(worst.class).map_or("", String::as_str);
                let Worst { found, reference, .. } = worst;
                format!(": farthest is image {}, {class}: {found} instead of {reference}", worst.image + 1)
            });
            format!(
                "the logits differ from libtorch's by {:.1e} of the largest (allowed {tolerance:.0e}), and {} of {} \
                 images have the same class{farthest}",
                agreement.max_relative_difference, agreement.agreeing, agreement.images
            )
        });
        failures
    }
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
