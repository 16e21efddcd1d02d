//! Evaluation of the best weights at the end of a run, and what it says of them.

use ferronnx_models::Module;
use ferronnx_models::card::TemperatureScaling;
use ferronnx_report::metrics::Confusion;
use ferronnx_report::multi_label::{LabelScores, MultiLabel};
use ferronnx_report::thresholds::{DEFAULT_THRESHOLD, best_thresholds, without_images};

use super::epoch::Session;
use super::{RunError, RunResult, Split};
use crate::data::batches::Loader;
use crate::data::images::ImageSet;
use crate::temperature::{self, Labelled, TemperatureError};
use crate::trainer::{EpochMetrics, Evaluation, Position, TrainError, answers, evaluate_by, label_scores};

/// Best weights on the images that they are evaluated on.
pub(super) struct Evaluated<'a> {
    pub split: Split,
    pub set: &'a ImageSet,
    pub evaluation: Evaluation,
    /// Selected labels of the images, in a multi-label task.
    pub labels: Option<EvaluatedLabels>,
    /// Accuracy with mirror images, if the recipe asks for it.
    pub mirrored_accuracy: Option<f64>,
    /// Temperature fitted on the validation images, or the reason why there is none.
    pub temperature: Result<TemperatureScaling, TemperatureError>,
}

/// Multi-label evaluation: thresholds chosen on the validation images, and the labels that they select.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EvaluatedLabels {
    /// Probability from which each class is selected, in the order of the labels.
    pub thresholds: Vec<f32>,
    /// Classes that are right for no validation image; they keep a threshold of 0.5.
    pub without_images: Vec<usize>,
    /// Scores of the evaluated images, in the order of their [predictions](Evaluation::predictions).
    pub scores: Vec<LabelScores>,
    /// Metrics of these scores.
    pub metrics: MultiLabel,
}

impl<'a, M: Module> Session<'a, M> {
    /// Evaluates the parameters on the test images, or on the validation images where there are no test images.
    pub(super) fn evaluated(&self) -> Result<Evaluated<'a>, RunError> {
        let (split, set) = self.sets.evaluated();
        let on = |set| self.evaluate(self.loader(set));
        let evaluation = on(set)?;
        let validation = match split {
            Split::Test => Some(on(&self.sets.validation)?),
            _ => None,
        };
        let (evaluated, task) = ((&evaluation, set), self.config.task);
        let validated = validation.as_ref().map_or(evaluated, |found| (found, &self.sets.validation));
        let labels = task.is_multi_label().then(|| EvaluatedLabels::new(validated, evaluated));
        let labelled = |(evaluation, set)| Labelled::of(evaluation, set, task);
        let test = validation.is_some().then(|| labelled(evaluated));
        let temperature = temperature::fit(&labelled(validated), test.as_ref());
        let mirrors = self.config.recipe.mirrored_test && split == Split::Test && !task.is_multi_label();
        let mirrored_accuracy = match mirrors {
            true => Some(self.mirrored_accuracy(&evaluation, set)?),
            false => None,
        };
        Ok(Evaluated { split, set, evaluation, labels, mirrored_accuracy, temperature })
    }

    /// Evaluates the parameters, each rank on its part of the images.
    fn evaluate(&self, images: Loader<'_>) -> Result<Evaluation, TrainError> {
        evaluate_by(self.together.0.map(|group| &**group), self.network, self.params, images)
    }

    /// Accuracy of the mean of the logits of `set` and of its mirror images.
    fn mirrored_accuracy(&self, evaluation: &Evaluation, set: &ImageSet) -> Result<f64, RunError> {
        let mirrored = self.evaluate(self.loader(set).mirrored())?;
        let sums = &evaluation.logits + &mirrored.logits;
        let right = sums.rows().into_iter().zip(&evaluation.predictions).filter(|(row, prediction)| {
            let classes = row.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
            classes.is_some_and(|(class, _)| class == set.label(prediction.index))
        });
        Ok(right.count() as f64 / evaluation.predictions.len() as f64)
    }
}

impl EvaluatedLabels {
    /// Chooses thresholds on validation images, and selects labels of the evaluated images by them.
    fn new(validation: (&Evaluation, &ImageSet), evaluated: (&Evaluation, &ImageSet)) -> Self {
        let classes = validation.0.logits.ncols();
        let found = label_scores(validation.0, validation.1, &vec![DEFAULT_THRESHOLD; classes]);
        let thresholds = best_thresholds(classes, &found);
        let scores = label_scores(evaluated.0, evaluated.1, &thresholds);
        let metrics = MultiLabel::new(classes, &scores);
        Self { thresholds, without_images: without_images(classes, &found), scores, metrics }
    }
}

impl Evaluated<'_> {
    /// Result of the run, whose best epoch has this position and these validation metrics.
    pub(super) fn result(&self, position: &Position, best: Option<&EpochMetrics>, train: usize) -> RunResult {
        let is_test = self.split == Split::Test;
        let labels = self.labels.as_ref();
        let (accuracy, macro_f1) = match labels {
            Some(labels) => (1.0 - labels.metrics.hamming_loss, labels.metrics.macro_average.f1),
            None => (self.evaluation.accuracy, self.macro_f1()),
        };
        RunResult {
            epochs: position.epoch,
            best_epoch: position.best.epoch,
            validation_accuracy: position.best.accuracy,
            test_accuracy: is_test.then_some(accuracy),
            mirrored_test_accuracy: self.mirrored_accuracy,
            train_images: train,
            validation_macro_f1: best.and_then(|metrics| metrics.validation_macro_f1),
            test_macro_f1: is_test.then_some(macro_f1),
            validation_map: best.and_then(|metrics| metrics.validation_map),
            test_map: labels.filter(|_| is_test).and_then(|labels| labels.metrics.mean_average_precision),
            thresholds: labels.map(|labels| labels.thresholds.clone()),
            temperature_scaling: self.temperature.clone().ok(),
        }
    }

    /// Mean F1 of the classes, of a task with one label an image.
    fn macro_f1(&self) -> f64 {
        let answers = answers(&self.evaluation, self.set);
        Confusion::new(self.evaluation.logits.ncols(), &answers).macro_average().f1
    }
}
