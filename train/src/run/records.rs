//! What is written down of a run.

use std::path::{Path, PathBuf};

use ferronnx_models::card::Preprocessing;
use ferronnx_models::resnet::Architecture;
use serde::{Deserialize, Serialize};

use crate::data::{Sample, folder, split};
use crate::pretrained::StemInit;
use crate::recipe::Recipe;
use crate::trainer::{Amp, PhaseRecord};

/// Everything needed to repeat a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Version of the program.
    pub version: String,
    /// The folder of images.
    pub data: PathBuf,
    /// Digest of the names of its images: a run goes on with the same ones only.
    pub data_digest: String,
    /// Most images used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Where it runs.
    pub device: String,
    /// Mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amp: Option<Amp>,
    /// Whether images that cannot be decoded are left out.
    #[serde(default)]
    pub skip_bad: bool,
    /// Weights it started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PathBuf>,
    /// How a 3x3 stem began where those have a 7x7 one.
    #[serde(default)]
    pub stem_init: StemInit,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// From an image to the input tensor.
    pub preprocessing: Preprocessing,
    /// The network.
    pub architecture: Architecture,
    /// How it is trained.
    pub recipe: Recipe,
}

impl RunConfig {
    /// Name of the data set: its folder's, without the path to it.
    pub fn dataset(&self) -> String {
        folder::name(&self.data)
    }

    /// The name of an image from the data set's folder on.
    pub fn short<'p>(&self, image: &'p Path) -> &'p Path {
        image.strip_prefix(&self.data).unwrap_or(image)
    }

    /// The images to learn from and to validate with; the same whenever it is asked.
    pub fn split(&self, samples: Vec<Sample>) -> (Vec<Sample>, Vec<Sample>) {
        split::stratified(&self.limited(samples), self.recipe.validation, self.seed)
    }

    /// The samples that `limit` leaves.
    pub fn limited(&self, samples: Vec<Sample>) -> Vec<Sample> {
        match self.limit {
            Some(limit) if limit < samples.len() => split::limited(&samples, limit, self.seed),
            _ => samples,
        }
    }
}

/// What a run began with, and what learns when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Tensors that were taken from the pretrained weights.
    pub loaded: Vec<String>,
    /// Parameters that were not: they learn in every phase unless the recipe freezes them by name.
    pub new: Vec<String>,
    /// Those of the new ones that were made from pretrained weights all the same.
    pub adapted: Vec<String>,
    /// Tensors of the pretrained weights that the network has no place for.
    pub ignored: Vec<String>,
    /// What learns in each phase.
    pub phases: Vec<PhaseRecord>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Epochs done.
    pub epochs: usize,
    /// The epoch, counted from 1, whose weights are in `best.safetensors`.
    pub best_epoch: usize,
    /// Its accuracy on the validation images, in [0, 1].
    pub validation_accuracy: f64,
    /// Its accuracy on the test images, in [0, 1], where there are some.
    pub test_accuracy: Option<f64>,
    /// Images trained on.
    pub train_images: usize,
}
