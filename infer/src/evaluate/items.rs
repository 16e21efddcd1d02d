//! Evaluation on images of stores and shards, whose labels come with them.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{Evaluation, MultiLabelEvaluation};
use crate::bulk::Shard;
use crate::classifier::Classifier;
use crate::data_set::Sample;
use crate::error::{Error, ErrorKind};
use crate::image_folder::Split;
use crate::pipeline::Input;
use crate::places::{self, Item, LabelError, Options, Place, Unit};
use crate::results::{Classified, Failed, Outcome};
use ferronnx_report::scored::Scored;

/// Reason why images of places cannot be evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ItemsError {
    /// The images cannot be listed, or the network cannot be run.
    #[error(transparent)]
    Failed(#[from] Error),
    /// An image has no label.
    #[error("{0}: the image has no label: its folder, a file beside it or a column has to tell it")]
    NoLabel(String),
    /// An image has several labels, and the model tells one class only.
    #[error("{0}: the image has several labels, and the model tells one class of many")]
    SeveralLabels(String),
    /// A label is none of the model's classes.
    #[error("{name}: the label is none of the model's classes")]
    Label {
        /// Image.
        name: String,
        /// Reason.
        source: LabelError,
    },
    /// All images are training images.
    #[error("all images are training images: evaluate on a prefix or on shards that were held out")]
    TrainingOnly,
}

/// Images of places to evaluate on.
#[derive(Debug, Clone)]
pub struct LabelledPlaces {
    places: Vec<Place>,
    split: Option<Split>,
    shard: Option<Shard>,
    options: Options,
}

impl LabelledPlaces {
    /// Lists `places` to find their part to evaluate on: the test images, else the validation images, else those in no
    /// part. Of these, one shard is taken if there is one.
    ///
    /// # Errors
    /// [`ItemsError::Failed`] when a place cannot be listed, [`ItemsError::TrainingOnly`] when all are training images.
    pub fn list(places: Vec<Place>, shard: Option<Shard>, options: Options) -> Result<Self, ItemsError> {
        let mut splits = BTreeSet::new();
        for unit in places::units(places.clone(), &options) {
            splits.insert(unit?.split);
            if splits.contains(&Some(Split::Test)) {
                break;
            }
        }
        let held_out = [Some(Split::Test), Some(Split::Validation), None];
        let split = held_out.into_iter().find(|split| splits.contains(split));
        Ok(Self { places, split: split.ok_or(ItemsError::TrainingOnly)?, shard, options })
    }

    /// Part of the data set.
    pub fn split(&self) -> Option<Split> {
        self.split
    }

    fn items(&self, labels: Labels) -> LabelledInputs {
        let Self { places, split, shard, options } = self.clone();
        let failure = labels.sender.clone();
        let chosen =
            move |unit: &Unit| unit.split == split && shard.is_none_or(|shard| shard.contains(&unit.name));
        // The images of a part are evaluated, or none: a listing that breaks off is an error.
        let units = places::units(places, &options).map_while(move |unit| match unit {
            Ok(unit) => Some(unit),
            Err(error) => {
                let _ = failure.send(Err(error.into()));
                None
            }
        });
        LabelledInputs { items: places::items(units.filter(chosen), &options), labels }
    }
}

/// Finder of the classes of images, by their labels.
struct Labels {
    classes: Vec<String>,
    has_many: bool,
    sender: Sender<Result<Vec<usize>, ItemsError>>,
}

impl Labels {
    /// Indices of an image's classes; none for an image that cannot be read.
    fn of(&self, item: &Item) -> Result<Vec<usize>, ItemsError> {
        if item.content.is_err() {
            return Ok(Vec::new());
        }
        let labels = item.labels.as_deref().ok_or_else(|| ItemsError::NoLabel(item.name.clone()))?;
        match labels.len() {
            0 if !self.has_many => return Err(ItemsError::NoLabel(item.name.clone())),
            2.. if !self.has_many => return Err(ItemsError::SeveralLabels(item.name.clone())),
            _ => {}
        }
        let index = |label: &places::Label| label.index(&self.classes);
        let unknown = |source| ItemsError::Label { name: item.name.clone(), source };
        labels.iter().map(index).collect::<Result<_, _>>().map_err(unknown)
    }
}

/// Images for the classifier, each after its classes were sent.
struct LabelledInputs {
    items: places::Items,
    labels: Labels,
}

impl Iterator for LabelledInputs {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        let item = self.items.next()?;
        let labels = self.labels.of(&item);
        let is_last = labels.is_err();
        // Nobody listens any more when the network failed.
        let _ = self.labels.sender.send(labels);
        (!is_last).then(|| item.into())
    }
}

/// Classifies images, calls `see` for each, gives those that were classified to `add`, and returns the others.
fn classify(
    classifier: &Classifier,
    images: &LabelledPlaces,
    has_many: bool,
    mut see: impl FnMut(&Outcome),
    mut add: impl FnMut(Sample, Classified, &[f64]),
) -> Result<Vec<Failed>, ItemsError> {
    let (sender, labels) = channel();
    let classes = classifier.card().labels.clone();
    let inputs = images.items(Labels { classes, has_many, sender });
    let mut failures = Vec::new();
    for (outcome, probabilities) in classifier.score_inputs(inputs) {
        let labels = next(&labels)?;
        see(&outcome);
        match outcome {
            Outcome::Classified(classified) => {
                let path = classified.path.clone();
                add(Sample { path, labels }, classified, &probabilities);
            }
            Outcome::Failed(Failed { error, .. }) if matches!(error.kind(), ErrorKind::Session(_)) => {
                return Err(error.into());
            }
            Outcome::Failed(failed) => failures.push(failed),
        }
    }
    // What ended the images too early.
    labels.try_iter().find_map(Result::err).map_or(Ok(failures), Err)
}

/// Classes of the next image, which were sent before it.
fn next(labels: &Receiver<Result<Vec<usize>, ItemsError>>) -> Result<Vec<usize>, ItemsError> {
    labels.recv().unwrap_or_else(|_| Ok(Vec::new()))
}

impl Evaluation {
    /// Classifies images of places and calls `see` for each, in order, as [`run`](Self::run) does for files.
    ///
    /// # Errors
    /// [`ItemsError`] when the images cannot be listed, one has no label that the model knows, or the network cannot be
    /// run.
    pub fn run_items(
        classifier: &Classifier,
        images: &LabelledPlaces,
        see: impl FnMut(&Outcome),
    ) -> Result<Self, ItemsError> {
        let labels = classifier.card().labels.clone();
        let mut evaluation = Self { scored: Scored::new(labels.len()), labels, ..Self::default() };
        evaluation.failed = classify(classifier, images, false, see, |sample, classified, probabilities| {
            evaluation.add(&sample, classified, probabilities);
        })?;
        Ok(evaluation)
    }
}

impl MultiLabelEvaluation {
    /// Classifies images of places and calls `see` for each, in order, as [`run`](Self::run) does for files.
    ///
    /// # Errors
    /// [`ItemsError`] when the images cannot be listed, one has no label that the model knows, or the network cannot be
    /// run.
    pub fn run_items(
        classifier: &Classifier,
        images: &LabelledPlaces,
        see: impl FnMut(&Outcome),
    ) -> Result<Self, ItemsError> {
        let mut evaluation = Self { labels: classifier.card().labels.clone(), ..Self::default() };
        evaluation.failed = classify(classifier, images, true, see, |sample, classified, probabilities| {
            evaluation.add(&sample, &classified, probabilities);
        })?;
        Ok(evaluation)
    }
}
