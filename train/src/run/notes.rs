//! Sentences about a run that is about to begin: imbalanced classes, class weights, how often images are drawn, too few
//! updates.

use ferronnx_infer::escape;

use super::{EvaluatedLabels, RunConfig, RunError};
use crate::data::Sampling;
use crate::data::images::ImageSet;
use crate::loss::{ClassWeights, class_weights};
use crate::recipe::BestBy;
use crate::task::Task;
use crate::trainer::Position;

/// Updates of the weights below which a network learns little, and statistics of batch norms have not settled.
const FEW_UPDATES: usize = 100;

/// Says how classes are weighted and drawn, and what chooses the best epoch if that is not the default.
pub(super) fn training(config: &RunConfig, train: &ImageSet) -> Result<Vec<String>, RunError> {
    let RunConfig { recipe, labels, task, .. } = config;
    let counts = train.class_counts(labels.len());
    let mut notes = Vec::new();
    let step = recipe.batch_size * config.ranks;
    let updates = recipe.epochs() * train.len().div_ceil(step).div_ceil(recipe.accumulate);
    if updates < FEW_UPDATES {
        notes.push(format!(
            "{updates} updates of the weights in the whole run are few: more epochs or a smaller batch size give more"
        ));
    }
    notes.extend(idle(config, train.len()));
    notes.extend(train.held_bytes(config.shuffle_window).map(|bytes| {
        format!(
            "images are read from shards in every epoch, and shuffled among {} of them: about {} MiB in memory",
            config.shuffle_window.min(train.len()),
            bytes.div_ceil(1 << 20)
        )
    }));
    let none: Vec<_> = labels
        .iter()
        .zip(&counts)
        .filter(|(_, count)| **count == 0)
        .map(|(label, _)| escape::name(label))
        .collect();
    if !none.is_empty() {
        notes.push(format!(
            "no training images of {}: they are all held out or limited away",
            none.join(", ")
        ));
    }
    if let Some(weights) = &recipe.loss.class_weights {
        let weights = class_weights(weights, *task, labels, &counts, train.len())
            .map_err(|source| config.recipe_error(source.into()))?;
        let [lowest, highest] = extremes(&weights, labels);
        let of = match task {
            Task::SingleLabel => "class weights",
            Task::MultiLabel => "weights of images with the class",
        };
        notes.push(format!("{of} from {lowest} to {highest}"));
    }
    if recipe.sampling == Sampling::Balanced {
        notes.push(drawn(config, train, &counts));
    }
    if recipe.best.is_some() {
        let by = config.best_by().map_err(|source| config.recipe_error(source.into()))?;
        notes.push(format!("the best epoch is the one with the {}", described(by)));
    }
    Ok(notes)
}

/// Says how many images a step of several ranks has, what batch norm does, and what changes for a run that goes on from
/// `position` with another number of ranks.
pub(super) fn ranks(
    config: &RunConfig,
    position: Option<&Position>,
    train: &ImageSet,
    has_statistics: bool,
) -> Vec<String> {
    let RunConfig { recipe, ranks, sync_bn, .. } = config;
    let (batch, size) = (recipe.batch_size, |ranks: usize| recipe.batch_size * recipe.accumulate * ranks);
    let mut notes = Vec::new();
    if let Some(position) = position.filter(|position| position.ranks != *ranks) {
        let mut note = format!(
            "{} now, {} before: an update takes {} images instead of {}, so the run is not the one that it would have been",
            counted(*ranks),
            counted(position.ranks),
            size(*ranks),
            size(position.ranks)
        );
        if position.step > 0 {
            let after = position.regrouped(recipe, *ranks).step * batch * ranks;
            note += &format!("; the epoch under way goes on after {after} of its {} images", train.len());
        }
        notes.push(note);
    }
    if *ranks == 1 {
        notes.extend(sync_bn.then(|| "sync_bn changes nothing with one rank".to_owned()));
        return notes;
    }
    let accumulated = match recipe.accumulate {
        1 => format!("{} a step", size(*ranks)),
        batches => format!("{} an update of {batches} steps", size(*ranks)),
    };
    notes.push(format!(
        "{ranks} ranks of {batch} images: {accumulated}; learning rates stay as the recipe has them"
    ));
    if has_statistics {
        notes.push(match sync_bn {
            true => "batch norm takes mean and variance of the images of all ranks in every step".into(),
            false => "batch norm takes mean and variance of each rank's own images; running statistics are averaged \
                      over the ranks after every step, so what is evaluated is what is saved"
                .into(),
        });
    }
    notes
}

fn counted(ranks: usize) -> String {
    if ranks == 1 { "1 rank".into() } else { format!("{ranks} ranks") }
}

/// Describes settings that do nothing at this size of images, or with so few of them.
fn idle(config: &RunConfig, images: usize) -> Vec<String> {
    let RunConfig { recipe, preprocessing, .. } = config;
    let (augment, side) = (&recipe.augment, preprocessing.crop.height);
    let is_nothing = |share: f64| share > 0.0 && (share * f64::from(side)).round() == 0.0;
    let mut notes = Vec::new();
    for (name, share) in [("cutout", augment.cutout), ("crop_padding", augment.crop_padding)] {
        if is_nothing(share) {
            notes.push(format!(
                "augment.{name} = {share} does nothing: it is less than half a pixel of {side}"
            ));
        }
    }
    let batches = images.div_ceil(recipe.batch_size * config.ranks);
    if recipe.accumulate > batches {
        notes.push(format!(
            "accumulate = {} is more than the {batches} batches of an epoch",
            recipe.accumulate
        ));
    }
    if recipe.sampling == Sampling::Balanced && recipe.loss.class_weights == Some(ClassWeights::Balanced) {
        notes.push("balanced sampling and balanced class weights: rare classes count twice".into());
    }
    notes
}

/// Says which classes have no threshold of their own.
pub(super) fn thresholds(config: &RunConfig, found: &EvaluatedLabels) -> Vec<String> {
    let names: Vec<_> =
        found.without_images.iter().map(|&class| escape::name(&config.labels[class])).collect();
    match names.is_empty() {
        true => Vec::new(),
        false => vec![format!("no validation images of {}: selected from 0.5 on", names.join(", "))],
    }
}

/// Words for the metric that chooses the best epoch.
fn described(by: BestBy) -> &'static str {
    match by {
        BestBy::Accuracy => "highest validation accuracy",
        BestBy::MacroF1 => "highest validation macro F1",
        BestBy::Loss => "lowest validation loss",
        BestBy::Map => "highest validation mAP",
    }
}

/// Says how often an image of the rarest and of the most frequent class is drawn in an epoch.
fn drawn(config: &RunConfig, train: &ImageSet, counts: &[usize]) -> String {
    let unlabelled = (0..train.len()).filter(|&index| train.labels(index).is_empty()).count();
    let groups = counts.iter().filter(|&&count| count > 0).count() + usize::from(unlabelled > 0);
    let share = train.len() as f64 / groups.max(1) as f64;
    let mut classes: Vec<(usize, &String)> =
        counts.iter().copied().zip(&config.labels).filter(|(count, _)| *count > 0).collect();
    classes.sort_by_key(|(count, _)| *count);
    let times = |count: usize| significant(share / count as f64);
    match &classes[..] {
        [(few, rare), .., (many, common)] => format!(
            "balanced sampling: an image of {} (the rarest, {few} images) is drawn {} times in an epoch, one of {} ({many} \
             images) {} times",
            escape::name(rare),
            times(*few),
            escape::name(common),
            times(*many)
        ),
        _ => "balanced sampling has one class only".into(),
    }
}

/// Lowest and highest weight, each with its class.
fn extremes(weights: &[f64], labels: &[String]) -> [String; 2] {
    let named =
        |(weight, label): (&f64, &String)| format!("{} ({})", significant(*weight), escape::name(label));
    let all = || weights.iter().zip(labels);
    let order = |a: &(&f64, &String), b: &(&f64, &String)| a.0.total_cmp(b.0);
    [all().min_by(order), all().max_by(order)].map(|found| found.map(named).unwrap_or_default())
}

/// Formats a number with three significant digits.
fn significant(value: f64) -> String {
    let digits = (2 - value.abs().max(1e-9).log10().floor() as i32).clamp(0, 6) as usize;
    format!("{value:.digits$}")
}
