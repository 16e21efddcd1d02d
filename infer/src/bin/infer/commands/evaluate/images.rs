//! Images of `infer evaluate`: files in folders and lists, or what stores and shards hold.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, anyhow};
use ferronnx_infer::Classifier;
use ferronnx_infer::bulk::Shard;
use ferronnx_infer::data_set::{DataSet, LabelledImage, Sample};
use ferronnx_infer::evaluate::{Evaluation, LabelledPlaces, MultiLabelEvaluation};
use ferronnx_infer::image_folder::Split;
use ferronnx_infer::places::{self, Options, Place};
use ferronnx_infer::results::Outcome;

use crate::args::EvaluateArgs;
use crate::messages;

/// Labelled images, of one part of a data set.
pub(super) struct Images {
    pub(super) data: DataSet,
    pub(super) split: Option<Split>,
    pub(super) shard: Option<Shard>,
    source: Source,
}

enum Source {
    Files(Vec<Sample>),
    Places(LabelledPlaces),
}

impl Images {
    /// Opens the images of `args`.
    pub(super) fn open(args: &EvaluateArgs, classifier: &Classifier) -> Result<Self> {
        let shard = args.shard.find()?;
        let place = match args.data.to_str() {
            Some(text) => {
                Place::parse(text).map_err(|error| anyhow!(messages::words(&error))).context("--data")?
            }
            None => args.data.clone().into(),
        };
        if places::holds_many(&place) && !is_list_of_files(&place) {
            let data = DataSet::unlisted(place.name());
            let places = LabelledPlaces::list(vec![place], shard, Options::default()).context("--data")?;
            return Ok(Self { data, split: places.split(), shard, source: Source::Places(places) });
        }
        Self::files(args, classifier, shard)
    }

    fn files(args: &EvaluateArgs, classifier: &Classifier, shard: Option<Shard>) -> Result<Self> {
        let mut data = DataSet::open(&args.data).context("--data")?;
        let is_multi_label = classifier.is_multi_label();
        if is_multi_label {
            let merged = data.merge_copies().context("--data")?;
            if merged.images > 0 {
                messages::line("note", merged.to_string());
            }
        }
        let (split, mut images) = data.held_out().context("--data")?;
        if let Some(shard) = shard {
            images.retain(|image| shard.contains(&image.path.to_string_lossy()));
        }
        let classes = &classifier.card().labels;
        let samples = match is_multi_label {
            true => data.label_sets(&images, classes),
            false => data.samples(&images, classes),
        };
        if is_multi_label && images.iter().all(has_class_folder) {
            let note = "class folders give each image one label: its other labels count as wrong";
            messages::line("note", note);
        }
        Ok(Self { data, split, shard, source: Source::Files(samples.context("--data")?) })
    }

    /// Number of images; 0 if it is not known before they are read.
    pub(super) fn len(&self) -> usize {
        match &self.source {
            Source::Files(samples) => samples.len(),
            Source::Places(_) => 0,
        }
    }

    /// Classifies the images with a model that tells one class of many, and calls `see` for each.
    pub(super) fn evaluate(&self, classifier: &Classifier, see: impl FnMut(&Outcome)) -> Result<Evaluation> {
        match &self.source {
            Source::Files(samples) => Ok(Evaluation::run(classifier, samples, see)?),
            Source::Places(places) => Evaluation::run_items(classifier, places, see).context("--data"),
        }
    }

    /// Classifies the images with a model that tells any number of classes, and calls `see` for each.
    pub(super) fn evaluate_labels(
        &self,
        classifier: &Classifier,
        see: impl FnMut(&Outcome),
    ) -> Result<MultiLabelEvaluation> {
        match &self.source {
            Source::Files(samples) => Ok(MultiLabelEvaluation::run(classifier, samples, see)?),
            Source::Places(places) => {
                MultiLabelEvaluation::run_items(classifier, places, see).context("--data")
            }
        }
    }
}

/// Tells whether a place is a list of local files: their images and labels are known before the first is read.
fn is_list_of_files(place: &Place) -> bool {
    let Some(path) = place.path().filter(|path| path.is_file() && !places::is_shard(place)) else {
        return false;
    };
    let mut beginning = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1 << 16).read_to_end(&mut beginning));
    read.is_err() || !beginning.windows(3).any(|bytes| bytes == b"://")
}

fn has_class_folder(image: &LabelledImage) -> bool {
    image.line.is_none() && image.labels.len() == 1
}
