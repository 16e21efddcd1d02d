//! Explanations of a prediction: where a network looked in an image, and what spoke for a class.
//!
//! A file exported with attention outputs returns the spatial masks of its CBAM stages (Woo et al. 2018,
//! arXiv:1807.06521): for each place a value in [0, 1] by which the features there are multiplied. The masks are part of the
//! network's computation, not an explanation made afterwards, and they do not depend on the class.
//!
//! A file exported with its last feature maps has class activation maps (Zhou et al. 2016, arXiv:1512.04150), which split
//! the logit of a class into the parts that each place adds to it.

#[cfg(feature = "overlay")]
pub mod overlay;

use ferronnx_models::card::OutputRole;
use ferronnx_models::onnx::head::{self, Head};
use ferronnx_models::onnx::{Dim, Model, passes};
use image::RgbImage;
use ndarray::{Array2, ArrayD, Axis, Ix4};

use crate::classifier::Classifier;
use crate::error::{Error, ModelError, Result};
use crate::results::Prediction;
use crate::session::{self, SessionError};

/// Attention masks and class activation map of a network for one image, with its predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Classes, most likely first.
    pub predictions: Vec<Prediction>,
    /// Masks, from the first stage to the last; none if the file does not return them.
    pub masks: Vec<Mask>,
    /// Class activation map; none if the file does not return feature maps.
    pub class_map: Option<ClassMap>,
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

/// Class activation map: the part of a class's logit that each place of the image gives.
///
/// The mean of the values plus the bias is the logit. In a file of 8 bits it is so up to the rounding of the features.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMap {
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: String,
    /// Score of the class that the file gives.
    pub logit: f32,
    /// Bias of the class, the part of the logit that no place gives.
    pub bias: f32,
    /// Parts of the logit, `[h, w]`: positive where the image speaks for the class, negative where against it.
    pub values: Array2<f32>,
}

impl ClassMap {
    /// Sums the feature maps `[1, C, h, w]` of the output `name`, weighted for `class`.
    fn new(
        classifier: &Classifier,
        weights: &head::Classifier,
        (name, maps): (&str, ArrayD<f32>),
        scores: &[f32],
        class: usize,
    ) -> Result<Self> {
        let is_finite = maps.iter().all(|value| value.is_finite());
        let maps = maps.into_dimensionality::<Ix4>().ok().filter(|_| is_finite);
        let maps = maps.ok_or_else(|| SessionError::Mask(name.into()))?;
        let (label, logit) = (classifier.card().labels.get(class), scores.get(class));
        let fits = maps.dim().1 == weights.weight.ncols() && weights.weight.nrows() == scores.len();
        let (Some(label), Some(&logit), true) = (label, logit, fits) else {
            return Err(ModelError::NoFeatureMaps.into());
        };
        let row = weights.weight.row(class).mapv(f64::from);
        let maps = maps.index_axis(Axis(0), 0).mapv(f64::from);
        let parts = maps.outer_iter().zip(&row).map(|(map, &weight)| &map * weight);
        let zeros = Array2::zeros(maps.index_axis(Axis(0), 0).dim());
        let values = parts.fold(zeros, |sum: Array2<f64>, part| sum + part).mapv(|value| value as f32);
        Ok(Self { class, label: label.clone(), logit, bias: weights.bias[class], values })
    }
}

/// Reads the weights of the last linear layer from the model's file.
fn class_weights(classifier: &Classifier) -> Result<head::Classifier> {
    let no_maps = || Error::from(ModelError::NoFeatureMaps);
    let path = classifier.session().path().ok_or_else(no_maps)?;
    let mut model = Model::decode(session::read(path)?).map_err(|_| no_maps().at(path))?;
    passes::remove_quantization(&mut model);
    let head = Head::find(&model, classifier.scores_output()).ok().filter(|head| head.maps.is_some());
    head.and_then(|head| head.classifier(&model)).ok_or_else(|| no_maps().at(path))
}

/// Names of the outputs that are masks, `[N, 1, h, w]`.
pub(crate) fn mask_outputs(classifier: &Classifier) -> Vec<String> {
    let is_mask = |shape: &[Dim]| matches!(shape, [_, Dim::Fixed(1), Dim::Fixed(_), Dim::Fixed(_)]);
    let maps = classifier.card().output(OutputRole::FeatureMaps);
    let outputs = classifier.session().outputs().iter().filter(|output| is_mask(&output.shape));
    outputs.map(|output| output.name.clone()).filter(|name| Some(&**name) != maps).collect()
}

impl Explanation {
    /// Runs the network on `image` and fetches its masks, and the class activation map of the most likely class.
    ///
    /// # Errors
    /// [`Model`](crate::ErrorKind::Model) when the model has neither masks nor feature maps among its outputs,
    /// [`Session`](crate::ErrorKind::Session) when it cannot be run.
    pub fn of(classifier: &Classifier, image: &RgbImage) -> Result<Self> {
        Self::new(classifier, image, None)
    }

    /// Runs the network on `image` and fetches its masks, and the class activation map of the class with index `class`.
    ///
    /// # Errors
    /// Those of [`of`](Self::of); [`Model`](crate::ErrorKind::Model) when the model has no feature maps among its outputs, or
    /// no such class.
    pub fn of_class(classifier: &Classifier, image: &RgbImage, class: usize) -> Result<Self> {
        Self::new(classifier, image, Some(class))
    }

    fn new(classifier: &Classifier, image: &RgbImage, class: Option<usize>) -> Result<Self> {
        let names = mask_outputs(classifier);
        let maps = classifier.card().output(OutputRole::FeatureMaps);
        match maps {
            None if class.is_some() => return Err(ModelError::NoFeatureMaps.into()),
            None if names.is_empty() => return Err(ModelError::NoMasks.into()),
            _ => {}
        }
        let asked: Vec<&str> = names.iter().map(String::as_str).chain(maps).collect();
        let (scores, mut fetched) = classifier.look(image, &asked)?;
        let predictions = classifier.predictions(&scores)?;
        let class = class.or_else(|| Some(predictions.first()?.index));
        let class_map = match maps.zip(class) {
            Some((name, class)) => {
                let values = fetched.pop().expect("the feature maps are asked for last");
                let weights = class_weights(classifier)?;
                Some(ClassMap::new(classifier, &weights, (name, values), &scores, class)?)
            }
            None => None,
        };
        let masks = names.into_iter().zip(fetched).map(|(name, values)| Mask::new(name, values));
        let masks = masks.collect::<std::result::Result<_, _>>()?;
        let seen = classifier.preprocessor().seen(image.width(), image.height());
        Ok(Self { predictions, masks, class_map, seen })
    }
}
