//! Spatial attention masks of a network: where it looked in an image.
//!
//! A file exported with attention outputs returns the spatial masks of its CBAM stages (Woo et al. 2018,
//! arXiv:1807.06521): for each place a value in [0, 1] by which the features there are multiplied. The masks are part of the
//! network's computation, not an explanation made afterwards, and they do not depend on the class.

use ferronnx_models::onnx::Dim;
use image::RgbImage;
use ndarray::{Array2, ArrayD, Ix4};

use crate::classifier::Classifier;
use crate::error::{ModelError, Result};
use crate::results::Prediction;
use crate::session::{Session, SessionError};

/// Attention masks of a network for one image, with its predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Classes, most likely first.
    pub predictions: Vec<Prediction>,
    /// Masks, from the first stage to the last.
    pub masks: Vec<Mask>,
    /// Part of the image that the network saw: left, top, width and height, in pixels.
    pub seen: [f64; 4],
}

/// Spatial attention mask of one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    /// Name of the output in the file, `cbam_layer1.spatial_attn.mask`.
    pub name: String,
    /// Values in [0, 1], `[h, w]`.
    pub values: Array2<f32>,
}

impl Mask {
    /// Name of the stage, `cbam_layer1`.
    pub fn stage(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// Minimum, mean and maximum of the values.
    pub fn range(&self) -> [f32; 3] {
        let least = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let greatest = self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        [least, self.values.mean().unwrap_or(0.0), greatest]
    }

    /// Checks the values of an output, `[1, 1, h, w]`.
    pub(crate) fn new(name: String, values: ArrayD<f32>) -> std::result::Result<Self, SessionError> {
        let invalid = || SessionError::Mask(name.clone());
        let values = values.into_dimensionality::<Ix4>().map_err(|_| invalid())?;
        let (_, _, height, width) = values.dim();
        let values = Array2::from_shape_vec((height, width), values.into_iter().collect());
        let values = values.map_err(|_| invalid())?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(Self { name, values }),
            false => Err(invalid()),
        }
    }
}

/// Names of the outputs that are masks, `[N, 1, h, w]`.
pub(crate) fn mask_outputs(session: &Session) -> Vec<String> {
    let is_mask = |shape: &[Dim]| matches!(shape, [_, Dim::Fixed(1), Dim::Fixed(_), Dim::Fixed(_)]);
    let outputs = session.outputs().iter().filter(|output| is_mask(&output.shape));
    outputs.map(|output| output.name.clone()).collect()
}

impl Explanation {
    /// Runs the network on `image` and fetches its masks.
    ///
    /// # Errors
    /// [`Model`](crate::ErrorKind::Model) when the model has no masks among its outputs,
    /// [`Session`](crate::ErrorKind::Session) when it cannot be run.
    pub fn of(classifier: &Classifier, image: &RgbImage) -> Result<Self> {
        let names = mask_outputs(classifier.session());
        if names.is_empty() {
            return Err(ModelError::NoMasks.into());
        }
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let (predictions, fetched) = classifier.observe(image, &asked)?;
        let masks = names.into_iter().zip(fetched).map(|(name, values)| Mask::new(name, values));
        let masks = masks.collect::<std::result::Result<_, _>>()?;
        let seen = classifier.preprocessor().seen(image.width(), image.height());
        Ok(Self { predictions, masks, seen })
    }
}
