//! Temperature scaling of exported logits: fitted, or as the card says.

use ferronnx_models::card::{ModelCard, TemperatureScaling};
use ferronnx_models::{Module, Ops, Roles};
use ferronnx_report::temperature::{TEMPERATURES, moved_threshold};
use ndarray::Axis;

use super::{BATCH, ExportError, ExportOptions, Images, Trained};
use crate::error::SettingError;
use crate::temperature::{self, Labelled, TrueClasses};

/// Network whose output is divided by a temperature, or left as it is without one.
pub(super) struct Scaled<'a, M> {
    network: &'a M,
    temperature: Option<f32>,
}

impl<M: Module> Module for Scaled<'_, M> {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let logits = self.network.forward(ops, x)?;
        match self.temperature {
            Some(temperature) => ops.scope("temperature", || ops.divide(&logits, temperature)),
            None => Ok(logits),
        }
    }

    fn roles(&self) -> Roles {
        self.network.roles()
    }
}

impl<'a, M: Module> Trained<'a, M> {
    /// Network with the temperature of `card`, which every step of an export runs.
    pub(super) fn scaled(&self, card: &ModelCard) -> Scaled<'a, M> {
        let scaling = card.temperature_scaling.as_ref();
        Scaled { network: self.network, temperature: scaling.map(|scaling| scaling.temperature) }
    }

    /// Card with the temperature that `options` ask for, and with the thresholds that make the same decisions then.
    pub(super) fn calibrated(
        &self,
        images: &Images,
        options: &ExportOptions,
    ) -> Result<ModelCard, ExportError> {
        let mut card = self.card.clone();
        // A file may have been edited.
        if let Some(scaling) = &card.temperature_scaling
            && !(TEMPERATURES[0]..=TEMPERATURES[1]).contains(&f64::from(scaling.temperature))
        {
            return Err(SettingError::new("the temperature", "from 0.05 to 20", scaling.temperature).into());
        }
        if options.calibrate && card.temperature_scaling.is_none() {
            card.temperature_scaling = Some(self.temperature(images, options)?);
        }
        if let (Some(threshold), Some(scaling)) = (&mut card.threshold, &card.temperature_scaling) {
            let moved = |threshold: f32| moved_threshold(threshold.into(), scaling.temperature.into()) as f32;
            *threshold = threshold.map(moved);
        }
        Ok(card)
    }

    /// Fits a temperature on images whose classes are known.
    fn temperature(
        &self,
        images: &Images,
        options: &ExportOptions,
    ) -> Result<TemperatureScaling, ExportError> {
        // One label an image says nothing about the other labels of a multi-label model.
        if self.card.is_multi_label() {
            return Err(ExportError::NoTemperature);
        }
        let labels = images.labels.as_ref().filter(|labels| !labels.is_empty());
        let labels = labels.ok_or(ExportError::NoLabels)?;
        let reference = self.reference(options)?;
        let batches = images.images.chunks(BATCH).map(|batch| reference.logits(batch));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let rows: Vec<_> = batches.iter().map(|rows| rows.view()).collect();
        let logits = ndarray::concatenate(Axis(0), &rows).expect("a network has one number of classes");
        let truth = TrueClasses::Single(labels.clone());
        Ok(temperature::fit(&Labelled { logits: &logits, truth }, None)?)
    }
}
