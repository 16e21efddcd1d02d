//! Records of a run: what it began with, and how it ended.

use ferronnx_models::card::TemperatureScaling;
use serde::{Deserialize, Serialize};

use crate::trainer::PhaseRecord;

/// Content of `plan.json`: tensors that were loaded, and the trained parameters of each phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Tensors that were taken from the pretrained weights.
    pub loaded: Vec<String>,
    /// Those of them that are sums over the channels of an RGB stem, for gray images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summed: Vec<String>,
    /// Parameters that were not: they learn in every phase unless the recipe freezes them by name.
    pub new: Vec<String>,
    /// New parameters that were made from pretrained weights nevertheless.
    pub adapted: Vec<String>,
    /// Tensors of the pretrained weights that the network has no place for.
    pub ignored: Vec<String>,
    /// Prefix of the names in the file of pretrained weights, with the keys that lead to them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Prefixes of other tensors in that file that would have fitted as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// Trained and frozen parameters of each phase.
    pub phases: Vec<PhaseRecord>,
    /// Text of `config.toml` when the run began; empty in runs that did not note it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config: String,
    /// Digest of the names of the validation images; empty in runs that did not note it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub validation_digest: String,
}

/// Content of `result.json`: accuracies and the best epoch of a run that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Number of epochs trained.
    pub epochs: usize,
    /// Epoch, counted from 1, whose weights are in `best.safetensors`.
    pub best_epoch: usize,
    /// Accuracy of these weights on the validation images, in [0, 1]; in a multi-label task the share of right decisions
    /// among all images and classes, at 0.5.
    pub validation_accuracy: f64,
    /// Accuracy of these weights on the test images, in [0, 1], if there are any; in a multi-label task the share
    /// of right decisions at the [thresholds](Self::thresholds).
    pub test_accuracy: Option<f64>,
    /// Accuracy on the test images by the mean of the logits of each image and its mirror image, if the recipe asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored_test_accuracy: Option<f64>,
    /// Number of training images.
    pub train_images: usize,
    /// Temperature of these weights, fitted on the validation images, if it can be fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_scaling: Option<TemperatureScaling>,
    /// Mean F1 of the classes on the validation images, each class with the same weight; absent in older runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_macro_f1: Option<f64>,
    /// Mean F1 of the classes on the test images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_macro_f1: Option<f64>,
    /// Mean average precision on the validation images (mAP), of a multi-label task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_map: Option<f64>,
    /// Mean average precision on the test images, of a multi-label task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_map: Option<f64>,
    /// Probability from which each class is selected, in the order of the labels, of a multi-label task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f32>>,
}
