//! Training a network of your own, in memory: from a folder of class folders to weights that export.
//!
//! The program `train fit` goes the same way for ResNet18-CBAM, and keeps a run folder that it can resume from.
//! `docs/own-network.md` is the guide, `examples/own_network.rs` a whole program.

use std::collections::HashSet;
use std::path::Path;

use ferronnx_infer::image_folder::FolderError;
use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_models::card::{ModelCard, Precision, Preprocessing, PreprocessingError, TrainingSummary};
use ferronnx_models::shapes::{self, ShapeError};
use ferronnx_models::{Module, Weights};
use tch::Device;

use crate::data::batches::Loader;
use crate::data::folder::{self, ImageFolder};
use crate::data::images::{ImageSet, Loading};
use crate::data::{Sample, split};
use crate::export::{CALIBRATION_IMAGES, ExportError, ExportOptions, Exported, Images, Trained, card};
use crate::params::Params;
use crate::recipe::Recipe;
use crate::trainer::{EpochMetrics, Options, TrainError, Trainer};

/// How a network is trained from random weights.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The phases of training.
    pub recipe: Recipe,
    /// From an image to the input tensor, `[N, 3, crop, crop]`.
    pub preprocessing: Preprocessing,
    /// What the model card says of the network: for people, nothing depends on it.
    pub architecture: serde_json::Value,
    /// Seed of every random choice.
    pub seed: u64,
    /// Where it trains.
    pub device: Device,
}

/// Why there is no trained network.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The folder of images cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Too few of them.
    #[error("{train} training and {validation} validation images are too few: add images")]
    TooFew {
        /// To learn from.
        train: usize,
        /// To choose the best epoch by.
        validation: usize,
    },
    /// Images cannot be prepared so.
    #[error("the preprocessing cannot be carried out")]
    Preprocessing(#[from] PreprocessingError),
    /// The network does not fit the input, or itself.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl Fit {
    /// Training on images of `size` by `size`, on the CPU with seed 42.
    pub fn new(recipe: Recipe, size: u32) -> Self {
        Self {
            recipe,
            preprocessing: Preprocessing::for_size(size),
            architecture: serde_json::Value::Null,
            seed: 42,
            device: Device::Cpu,
        }
    }

    /// Trains what `network` makes for a number of classes on the images in `data`, `data/CLASS/*` or
    /// `data/train/CLASS/*`; `on_epoch` sees how it goes.
    ///
    /// The result has the weights of the epoch that was best on the images that the recipe holds out.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn run<M: Module>(
        &self,
        data: &Path,
        network: impl FnOnce(usize) -> M,
        mut on_epoch: impl FnMut(&EpochMetrics),
    ) -> Result<Fitted<M>, FitError> {
        self.preprocessing.check()?;
        let folder = ImageFolder::scan(data)?;
        let network = network(folder.classes.len());
        let preprocessor = Preprocessor::new(&self.preprocessing);
        let [channels, height, width] = preprocessor.input_shape();
        let described = shapes::describe(&network, &[1, channels, height, width])?;
        let params =
            Params::initialise(&described.params, self.seed, self.device).map_err(TrainError::from)?;
        let (train, validation) = split::stratified(&folder.train, self.recipe.validation, self.seed);
        if train.len() < 2 || validation.is_empty() {
            return Err(FitError::TooFew { train: train.len(), validation: validation.len() });
        }
        let originals = self.recipe.augment.needs_originals(preprocessor.size());
        let sets = [(&train, originals), (&validation, false)].map(|(samples, originals)| {
            let how = Loading { originals, ..Loading::new(self.device) };
            ImageSet::load(samples.clone(), &preprocessor, how, || ()).map_err(TrainError::from)
        });
        let [train_set, validation_set] = sets;
        let (train_set, validation_set) = (train_set?, validation_set?);
        let loaders = [&train_set, &validation_set].map(|set| Loader::new(set, &preprocessor, self.device));
        let new: HashSet<String> = params.names().map(Into::into).collect();
        let options = Options { seed: self.seed, amp: None };
        let mut trainer = Trainer::new(&network, &params, &self.recipe, loaders, &new, options)?;
        let mut weights = Weights::default();
        while trainer.enter()?.is_some() {
            let Some(epoch) = trainer.epoch(|_| true)? else { continue };
            if epoch.improved {
                weights = trainer.validated().to_weights().map_err(TrainError::from)?;
            }
            on_epoch(&epoch.metrics);
        }
        let best = trainer.position().best;
        let training = TrainingSummary {
            recipe: self.recipe.name.clone(),
            dataset: folder::name(data),
            train_images: train.len(),
            epoch: best.epoch,
            validation_accuracy: best.accuracy,
            test_accuracy: None,
            seed: self.seed,
        };
        let card =
            card(folder.classes, self.preprocessing.clone(), self.architecture.clone(), Some(training));
        Ok(Fitted { network, weights, card, train, validation })
    }
}

/// A network with what it learned.
#[derive(Debug)]
pub struct Fitted<M> {
    /// The network.
    pub network: M,
    /// Its weights.
    pub weights: Weights,
    /// Everything else about it.
    pub card: ModelCard,
    train: Vec<Sample>,
    validation: Vec<Sample>,
}

impl<M: Module> Fitted<M> {
    /// Writes the network to `path` once ONNX Runtime and libtorch agree on the validation images; int8 takes the
    /// ranges of values from training images.
    ///
    /// # Errors
    /// As [`Trained::export`].
    pub fn export(&self, path: &Path, options: &ExportOptions) -> Result<Exported, ExportError> {
        let preprocessor = Preprocessor::new(&self.card.preprocessing);
        let load = |samples: &[Sample], most| {
            let samples = split::limited(samples, most, 0);
            Images::load(&samples, &preprocessor, false).map_err(TrainError::from)
        };
        let images = load(&self.validation, Images::most(&preprocessor))?;
        let calibration = match options.precision {
            Precision::Int8 => load(&self.train, CALIBRATION_IMAGES)?.images,
            Precision::Fp32 | Precision::Fp16 => Vec::new(),
        };
        let Self { network, weights, card, .. } = self;
        Trained { network, weights, card, calibration: &calibration }.export(path, &images, options)
    }
}
