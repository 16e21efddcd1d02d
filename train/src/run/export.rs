//! Export of a run: its model card, and the verified ONNX file.

use std::path::Path;

use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_models::Module;
use ferronnx_models::card::{Activation, ModelCard, Precision, Threshold, TrainingSummary};

use super::{Run, RunConfig, RunError, RunFolder, Splits};
use crate::data::{Sample, split};
use crate::export::{CALIBRATION_IMAGES, ExportError, ExportOptions, Exported, Images, Trained, card};
use crate::task::Task;

/// Errors of exporting a run.
#[derive(Debug, thiserror::Error)]
pub enum RunExportError {
    /// The run's weights or images cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The file cannot be made, or does not agree with libtorch.
    #[error(transparent)]
    Export(#[from] ExportError),
}

impl RunFolder {
    /// Makes the model card of the run: labels, preprocessing, architecture, and the result once there is one. The card of
    /// a multi-label run has a sigmoid and the thresholds that were chosen on the validation images.
    ///
    /// # Errors
    /// [`RunError::Damaged`] or [`RunError::Io`] when `result.json` cannot be read.
    pub fn card(&self, config: &RunConfig) -> Result<ModelCard, RunError> {
        let result = self.result()?;
        let thresholds = result.as_ref().and_then(|result| result.thresholds.clone());
        let training = result.map(|result| TrainingSummary {
            recipe: config.recipe.name.clone(),
            dataset: config.dataset(),
            train_images: result.train_images,
            epoch: result.best_epoch,
            validation_accuracy: result.validation_accuracy,
            test_accuracy: result.test_accuracy,
            validation_map: result.validation_map,
            test_map: result.test_map,
            seed: config.seed,
        });
        let RunConfig { labels, preprocessing, architecture, .. } = config.clone();
        let card = card(labels, preprocessing, architecture, training);
        Ok(match config.task {
            Task::SingleLabel => card,
            // A run that was stopped has chosen no thresholds: 0.5, as of any card.
            Task::MultiLabel => ModelCard {
                activation: Activation::Sigmoid,
                threshold: Some(thresholds.map_or_else(Threshold::default, Threshold::Each)),
                ..card
            },
        })
    }
}

impl<M: Module> Run<M> {
    /// Writes the best weights to the ONNX file `path`, once ONNX Runtime and libtorch agree on the validation images.
    ///
    /// int8 takes the ranges of values from training images. The temperature of a calibrated file was fitted at the end of
    /// the run; that of an unfinished run is fitted on the images of the comparison.
    ///
    /// # Errors
    /// [`RunExportError::Run`] when the run has no weights or its images are not there any more,
    /// [`RunExportError::Export`] when the file cannot be made or does not agree with libtorch.
    pub fn export(
        &self,
        path: impl AsRef<Path>,
        options: &ExportOptions,
    ) -> Result<Exported, RunExportError> {
        let Self { config, folder, network, .. } = self;
        let (weights, _) = folder.weights()?;
        let splits = Splits::find(config, folder)?;
        let preprocessor = Preprocessor::new(&config.preprocessing);
        let load = |samples: &[Sample], most| {
            let samples = split::limited(samples, most, config.seed);
            Images::load(&splits.source, &samples, &preprocessor, config.skip_bad).map_err(RunError::from)
        };
        let images = load(&splits.validation, Images::most(&preprocessor))?;
        let calibration = match options.precision {
            Precision::Int8 => load(&splits.train, CALIBRATION_IMAGES)?.images,
            Precision::Fp32 | Precision::Fp16 => Vec::new(),
        };
        let mut card = folder.card(config)?;
        if options.calibrate {
            card.temperature_scaling = folder.result()?.and_then(|result| result.temperature_scaling);
        }
        let trained = Trained { network, weights: &weights, card: &card, calibration: &calibration };
        Ok(trained.export(path, &images, options)?)
    }
}
