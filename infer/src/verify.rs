//! Recomputing a file's [certificate](ferronnx_models::certificate) where the file is used: is this the network that was
//! exported, and does it compute the same here?

use std::path::Path;

use ferronnx_models::certificate::{CERTIFICATE_KEY, CardDigests, Certificate, Golden};
use ferronnx_models::onnx::WeightsDigest;
use ferronnx_models::parity::{Comparison, Parity, Worst};
use image::RgbImage;
use ndarray::{Array2, Ix2};
use serde::Serialize;

use crate::classifier::read_card;
use crate::decode;
use crate::error::{Error, Result, few};
use crate::preprocess::Preprocessor;
use crate::runtime;
use crate::session::{self, Options, Session};

/// Levels of 255 by which a prepared image may differ between machines: their vector instructions round differently,
/// one level in decoding and one in resizing.
pub const LEVELS: u8 = 2;

/// What came of recomputing a certificate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// What executed the network.
    pub provider: &'static str,
    /// Why that is not what was asked for, see [`Session::warning`].
    #[serde(skip)]
    pub warning: Option<String>,
    /// Library and version.
    pub runtime: String,
    /// What executed it when it was exported, with library and version.
    pub exported_with: String,
    /// Tensors of the file.
    pub tensors: usize,
    /// SHA-256 of the weights, in hexadecimal.
    pub sha256: String,
    /// Names of the tensors that are not what was exported, in this file or in the certificate only.
    pub changed_tensors: Vec<String>,
    /// Whether the labels are those that were exported, in their order.
    pub labels: bool,
    /// Whether the preprocessing is.
    pub preprocessing: bool,
    /// For each golden image, the largest difference of its prepared form, in levels of 255.
    pub levels: Vec<u8>,
    /// How the logits of the golden images compare with libtorch's.
    pub agreement: Parity,
    /// The logit that is farthest away.
    pub worst: Option<Worst>,
    /// Names of the classes.
    #[serde(skip)]
    pub classes: Vec<String>,
    /// What was found when the file was exported, on more images than those.
    pub exported_agreement: Parity,
    /// Largest difference that is allowed, relative to the largest logit.
    pub tolerance: f64,
}

impl Verification {
    /// Recomputes the certificate of the file at `path`.
    ///
    /// `tolerance` replaces the certificate's own: half-precision units such as TF32 may need a larger one.
    ///
    /// # Errors
    /// Those of [`Session::from_file`], and [`Error::Model`] when the file has no certificate, or a card or a
    /// certificate that cannot be used. A certificate that does not hold is no error: [`holds`](Self::holds).
    pub fn of_file(path: &Path, options: &Options, tolerance: Option<f64>) -> Result<Self> {
        let bytes = session::read(path)?;
        Self::of_bytes(&bytes, options, tolerance).map_err(|error| error.at(path))
    }

    /// Recomputes the certificate in `bytes`, the content of a file.
    ///
    /// # Errors
    /// As [`of_file`](Self::of_file).
    pub fn of_bytes(bytes: &[u8], options: &Options, tolerance: Option<f64>) -> Result<Self> {
        let session = Session::from_bytes(bytes, options)?;
        let text = session.metadata(CERTIFICATE_KEY).ok_or_else(|| {
            unusable(format!("has no certificate (`{CERTIFICATE_KEY}`): `train export` writes one"))
        })?;
        let certificate = Certificate::from_json(&text).map_err(|error| unusable(error.to_string()))?;
        let card = read_card(&session).map_err(unusable)?;
        let weights = WeightsDigest::of_file(bytes).map_err(|error| unusable(error.to_string()))?;
        let digests = CardDigests::of(&card);

        let preprocessor = Preprocessor::new(&card.preprocessing);
        let goldens = goldens(&certificate.goldens, &preprocessor)?;
        let tolerance = tolerance.unwrap_or(certificate.tolerance);
        let (found, expected) = {
            let prepared: Vec<&RgbImage> = goldens.iter().map(|golden| &golden.prepared).collect();
            let found = session.run(&preprocessor.batch(&prepared, card.input))?;
            let found = found.into_dimensionality::<Ix2>().map_err(|error| damaged(error.to_string()))?;
            let logits = certificate.goldens.iter().flat_map(|golden| golden.logits.iter().copied());
            let expected = Array2::from_shape_vec(found.dim(), logits.collect());
            (found, expected.map_err(|error| damaged(format!("its logits: {error}")))?)
        };
        let mut comparison = Comparison::new(tolerance);
        comparison.add(found.view(), expected.view(), None);

        let mut changed = certificate.weights.differing(&weights);
        if changed.is_empty() && certificate.weights.sha256 != weights.sha256 {
            changed.push("a name that occurs twice");
        }
        Ok(Self {
            provider: session.provider(),
            warning: session.warning().map(str::to_owned),
            runtime: format!("ONNX Runtime {}", runtime::load(options.runtime.as_deref())?.version()),
            exported_with: certificate.runtime.clone(),
            tensors: weights.tensors.len(),
            changed_tensors: changed.into_iter().map(str::to_owned).collect(),
            labels: digests.labels == certificate.card.labels,
            preprocessing: digests.preprocessing == certificate.card.preprocessing,
            levels: goldens.iter().map(|golden| golden.levels).collect(),
            agreement: comparison.parity(),
            worst: comparison.worst(),
            classes: card.labels,
            exported_agreement: certificate.agreement,
            tolerance,
            sha256: weights.sha256,
        })
    }

    /// Whether the file is what was exported and computes the same.
    pub fn holds(&self) -> bool {
        self.failures().is_empty()
    }

    /// What does not hold, a sentence each.
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

/// A golden image, as it comes out here.
struct Recomputed {
    /// As it was prepared when the file was exported.
    prepared: RgbImage,
    /// Largest difference of what it is prepared to here, in levels of 255.
    levels: u8,
}

fn goldens(goldens: &[Golden], preprocessor: &Preprocessor) -> Result<Vec<Recomputed>> {
    if goldens.is_empty() {
        return Err(damaged("it holds no images"));
    }
    let image = |encoded: &[u8]| decode::bytes(encoded).map_err(|error| damaged(error.reason()));
    let recompute = |golden: &Golden| {
        let here = preprocessor.prepare(&image(&golden.image.0)?);
        let prepared = image(&golden.prepared.0)?;
        if prepared.dimensions() != here.dimensions() {
            let ((width, height), size) = (prepared.dimensions(), preprocessor.size());
            return Err(damaged(format!("an image of {width}x{height} for an input of {size}x{size}")));
        }
        let levels = here.as_raw().iter().zip(prepared.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        Ok(Recomputed { prepared, levels: levels.unwrap_or(0) })
    };
    goldens.iter().map(recompute).collect()
}

fn damaged(reason: impl AsRef<str>) -> Error {
    unusable(format!("the certificate is damaged: {}", reason.as_ref()))
}

fn unusable(reason: String) -> Error {
    Error::Model { path: None, reason }
}
