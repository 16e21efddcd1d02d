//! `train export`: exports a run or a checkpoint to a verified `.onnx`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferronnx_infer::data_set::{DataSet, DataSetError};
use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_models::Weights;
use ferronnx_models::card::{
    Activation, CalibrationErrors, ModelCard, Precision, TemperatureScaling, Threshold,
};
use ferronnx_models::certificate::Certificate;
use ferronnx_models::checkpoint::network::Found;
use ferronnx_models::networks::{Architecture, Classifier, Stem};
use ferronnx_models::onnx::Opset;
use ferronnx_models::parity::Disagreement;
use ferronnx_train::data::{self, Sample, split};
use ferronnx_train::error::chain;
use ferronnx_train::export::{
    CALIBRATION_IMAGES, Drift, ExportOptions, Exported, Images, Speed, Trained, card,
};
use ferronnx_train::run::{RunError, RunFolder, Splits};
use ferronnx_train::temperature::FEW_IMAGES;
use image::RgbImage;

use super::bare::Bare;
use super::{architecture, is_run};
use crate::args::{ExportArgs, PrecisionArg};
use crate::display;

/// Number of images for the comparison of every node.
const DRIFT_IMAGES: usize = 16;

/// Largest number of images listed for which the file predicts another class.
const DISAGREEING: usize = 10;

/// Network, weights and images of an export.
struct Source {
    architecture: Architecture,
    weights: Weights,
    card: ModelCard,
    /// Images to verify on, and their description.
    images: Images,
    description: String,
    /// Images to calibrate int8 on.
    calibration: Vec<RgbImage>,
    /// Lines about the tensors of a checkpoint: those that were taken, and those that were not.
    notes: Vec<String>,
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<()> {
    let sound = |tolerance: f64| (0.0..f64::INFINITY).contains(&tolerance);
    ensure!(args.tolerance.is_none_or(sound), "--tolerance has to be a number that is not negative, as 1e-3");
    let options = ExportOptions {
        opset: Opset::new(args.opset)?,
        precision: args.precision.into(),
        input: args.input.into(),
        observed: args.attention_outputs,
        features: args.features,
        feature_maps: args.explain_outputs,
        fold: !args.no_fold,
        calibration: args.ranges.into(),
        tolerance: args.tolerance,
        calibrate: args.calibrate,
    };
    ferronnx_infer::runtime::load(args.ort_lib.as_deref())?;
    let source = if is_run(&args.source) { from_run(args)? } else { from_checkpoint(args)? };
    let network = Classifier::new(&source.architecture)?;
    ensure!(
        !options.observed || source.architecture.attention.is_some(),
        "--attention-outputs: this network has no attention"
    );
    let trained = Trained {
        network: &network,
        weights: &source.weights,
        card: &source.card,
        calibration: &source.calibration,
    };
    if let Some(rows) = args.drift {
        let images = source.images.spread(DRIFT_IMAGES);
        let drift = trained.drift(&images, &options)?;
        say!("{}\n", drift_table(&drift, rows, images.images.len()));
    }
    let started = Instant::now();
    let exported = trained.export(&args.output, &source.images, &options)?;
    report(args, &source, &exported, started.elapsed());
    Ok(())
}

fn report(args: &ExportArgs, source: &Source, exported: &Exported, took: Duration) {
    let Certificate { agreement, tolerance, weights, goldens, .. } = &exported.certificate;
    say!("network     {}", source.architecture);
    source.notes.iter().for_each(|note| say!("{note}"));
    say!("verified    on {} {}, ONNX Runtime against libtorch", agreement.images, source.description);
    say!(
        "difference  {:.2e} at most, {:.2e} of the largest logit (allowed {tolerance:.0e}), {:.2e} in the mean",
        agreement.max_difference,
        agreement.max_relative_difference,
        agreement.mean_difference,
    );
    let ties = if agreement.ties == 0 { String::new() } else { format!(", {} ties", agreement.ties) };
    let top = if source.card.is_multi_label() { "likeliest label" } else { "top-1" };
    say!("agreement   {top} {} of {}{ties}", agreement.agreeing, agreement.images);
    for Disagreement { image, reference, found, margin } in exported.disagreeing.iter().take(DISAGREEING) {
        let (name, labels) = (&source.images.names[*image], &source.card.labels);
        let (reference, found) = (&labels[*reference], &labels[*found]);
        say!("            {name}: {reference} or {found}, {margin:.1e} of the largest logit apart");
    }
    match exported.disagreeing.len().saturating_sub(DISAGREEING) {
        0 => {}
        more => say!("            and {more} more"),
    }
    if let Some([libtorch, file]) = exported.right {
        let percent = |right: usize| 100.0 * right as f64 / agreement.images as f64;
        say!("accuracy    {:.1} %, libtorch {:.1} %", percent(file), percent(libtorch));
    }
    if let Some(Speed { fp32, int8 }) = exported.speed {
        let [fp32, int8] = [fp32, int8].map(|time| 1e3 * time.as_secs_f64());
        say!("speed       {int8:.1} ms for an image on this CPU, as float32 {fp32:.1} ms");
    }
    for warning in int8_warnings(exported.speed, exported.right, agreement.images) {
        display::print_error(format_args!("warning: {warning}"));
    }
    if let Some(scaling) = &exported.temperature_scaling {
        calibrated(scaling);
    }
    say!("certificate {} images, weights sha256 {}", goldens.len(), &weights.sha256[..16]);
    say!(
        "written     {} ({:.1} MB, opset {}, {}) in {:.1} s, verified in {:.1} s",
        args.output.display(),
        exported.bytes as f64 / 1e6,
        args.opset,
        Precision::from(args.precision),
        exported.written.as_secs_f64(),
        took.saturating_sub(exported.written).as_secs_f64()
    );
    say!("next: infer verify --model {} where it will run", args.output.display());
}

/// Describes why int8 may not be worth it here: it is not faster, or loses more than a point of accuracy. `right` are the
/// numbers of images, of all `images`, that libtorch and the file classify correctly.
fn int8_warnings(speed: Option<Speed>, right: Option<[usize; 2]>, images: usize) -> Vec<String> {
    let Some(speed) = speed else { return Vec::new() };
    let slow = (!speed.is_gain()).then(|| "int8 is not faster than float32 on this CPU".to_owned());
    let lost = right.map_or(0.0, |[libtorch, file]| 100.0 * (libtorch as f64 - file as f64) / images as f64);
    let lossy = (lost > 1.0).then(|| {
        format!("int8 loses {lost:.1} points of accuracy on these {images} images: try --ranges percentile")
    });
    slow.into_iter().chain(lossy).collect()
}

/// Prints the temperature that is part of the file, with the calibration errors before and after it.
fn calibrated(scaling: &TemperatureScaling) {
    say!("temperature {:.4}, the file's logits are divided by it", scaling.temperature);
    let line = |name: &str, CalibrationErrors { images, before, after }: &CalibrationErrors| {
        say!(
            "calibration {:.2} % expected error before, {:.2} % after, on {images} {name} images",
            100.0 * before,
            100.0 * after
        );
    };
    line("validation", &scaling.validation);
    if let Some(test) = &scaling.test {
        line("test", test);
    }
    if scaling.validation.images < FEW_IMAGES {
        display::print_error(format_args!(
            "warning: {} validation images are few: the temperature depends on chance",
            scaling.validation.images
        ));
    }
}

/// Table of the nodes that differ most from libtorch.
fn drift_table(drift: &[Drift], rows: usize, images: usize) -> String {
    let row = |Drift { node, added, relative, max_difference, max_value }: &Drift| {
        let number = |value: &f64| format!("{value:.1e}");
        [node.clone(), number(added), number(relative), number(max_difference), number(max_value)]
    };
    let table = display::table(["node", "added", "drift", "largest", "of"], drift.iter().take(rows).map(row));
    let shown = rows.min(drift.len());
    format!(
        "drift from libtorch on {images} images: the {shown} worst of {} nodes\n\n{}\n\n \
         added    root mean square of the differences, relative to that of the values, beyond what came in\n \
         drift    the same with what came in; largest: one difference; of: the largest value",
        drift.len(),
        table
    )
}

fn from_run(args: &ExportArgs) -> Result<Source> {
    args.bare.refuse()?;
    ensure!(!args.multi_label, "--multi-label is for bare checkpoints: a run knows it already");
    let (run, config) = RunFolder::open(&args.source)?;
    let architecture = architecture(&config, &args.source)?;
    let (weights, file) = run.weights()?;
    let found = Architecture::of(&weights).with_context(|| file.display().to_string())?;
    ensure!(
        found.same_shapes(&architecture),
        "{} holds a {found}, the run is a {architecture}",
        file.display()
    );
    let preprocessor = Preprocessor::new(&config.preprocessing);
    let own = Splits::find(&config, &run);
    let (images, description) = match (&args.images, &own) {
        (Some(folder), _) => chosen_images(folder, &config.labels, &preprocessor)?,
        (None, Ok(splits)) => {
            let validation = split::limited(&splits.validation, Images::most(&preprocessor), config.seed);
            let images = Images::load(&splits.source, &validation, &preprocessor, config.skip_bad)?;
            (images, "validation images".to_owned())
        }
        (None, Err(error)) => {
            let reason = match error {
                RunError::OtherImages { .. } => "the run's images have changed",
                _ => "the run's images cannot be listed",
            };
            let why = chain(error);
            display::print_error(format_args!(
                "warning: {reason}, so the file is verified on generated images: {why}"
            ));
            generated_images(&preprocessor)
        }
    };
    let calibration = match (&args.calibration, own) {
        _ if args.precision != PrecisionArg::Int8 => Vec::new(),
        (Some(folder), _) => calibration_images(folder, &preprocessor)?,
        (None, own) => {
            let splits = own.context("int8 needs the run's images, or --calibration DIR")?;
            let train = split::limited(&splits.train, CALIBRATION_IMAGES, config.seed);
            Images::load(&splits.source, &train, &preprocessor, config.skip_bad)?.images
        }
    };
    let mut card = run.card(&config)?;
    let result = run.result()?;
    let mut notes = Vec::new();
    if card.is_multi_label() && result.as_ref().is_none_or(|result| result.thresholds.is_none()) {
        notes.push(
            "thresholds  0.5 for every class: they are chosen at the end of a run, and this one was stopped"
                .into(),
        );
    }
    if args.calibrate {
        card.temperature_scaling = result.and_then(|result| result.temperature_scaling);
    }
    Ok(Source { architecture, weights, card, images, description, calibration, notes })
}

/// Loads the images of a folder, with their classes if its folders are the labels.
fn chosen_images(folder: &Path, labels: &[String], preprocessor: &Preprocessor) -> Result<(Images, String)> {
    let description = format!("images of {}", folder.display());
    let most = Images::most(preprocessor);
    let labelled =
        |set: DataSet| -> Result<Vec<Sample>, DataSetError> { set.label_sets(&set.held_out()?.1, labels) };
    if let Ok(samples) = DataSet::open(folder).and_then(labelled) {
        let samples = split::limited(&samples, most, 0);
        return Ok((Images::load(&data::Source::Files, &samples, preprocessor, false)?, description));
    }
    let samples = unlabelled(folder, "--images", most)?;
    let images =
        Images { labels: None, ..Images::load(&data::Source::Files, &samples, preprocessor, false)? };
    Ok((images, description))
}

/// Lists images of a folder, spread over all of it.
fn unlabelled(folder: &Path, flag: &str, most: usize) -> Result<Vec<Sample>> {
    let paths = ferronnx_infer::files::images_in(folder)?;
    ensure!(!paths.is_empty(), "{flag} {}: there are no images", folder.display());
    let samples: Vec<_> = paths.into_iter().map(|path| Sample { path, labels: Vec::new() }).collect();
    Ok(split::limited(&samples, most, 0))
}

fn calibration_images(folder: &Path, preprocessor: &Preprocessor) -> Result<Vec<RgbImage>> {
    let samples = unlabelled(folder, "--calibration", CALIBRATION_IMAGES)?;
    Ok(Images::load(&data::Source::Files, &samples, preprocessor, false)?.images)
}

fn generated_images(preprocessor: &Preprocessor) -> (Images, String) {
    (Images::generated(preprocessor), "generated images".into())
}

fn from_checkpoint(args: &ExportArgs) -> Result<Source> {
    let Bare { found, preprocessing, labels, assumed } = Bare::read(&args.source, &args.bare)?;
    let mut notes = notes(&found);
    let Found { architecture, weights, .. } = found;
    notes.extend(assumed.map(|assumed| format!("assumed     {assumed}")));
    let (is_multi_label, note) = labels_an_image(args, architecture.classes);
    notes.push(note);
    let preprocessor = Preprocessor::new(&preprocessing);
    let (images, description) = match &args.images {
        Some(folder) => chosen_images(folder, &labels, &preprocessor)?,
        None => generated_images(&preprocessor),
    };
    let calibration = match &args.calibration {
        Some(folder) if args.precision == PrecisionArg::Int8 => calibration_images(folder, &preprocessor)?,
        _ => Vec::new(),
    };
    let mut card = card(labels, preprocessing, serde_json::to_value(architecture)?, None);
    if is_multi_label {
        (card.activation, card.threshold) = (Activation::Sigmoid, Some(Threshold::default()));
    }
    Ok(Source { architecture, weights, card, images, description, calibration, notes })
}

/// Tells whether a bare checkpoint gives several labels an image, which weights do not say, and from where it is known.
fn labels_an_image(args: &ExportArgs, classes: usize) -> (bool, String) {
    if args.multi_label {
        return (true, "labels      several an image, each from a probability of 0.5".into());
    }
    let is_multi_label = |folder: &&Path| {
        RunFolder::open(folder).is_ok_and(|(_, run)| run.task.is_multi_label() && run.labels.len() == classes)
    };
    // The folder of a run, or `last/` in it.
    let note = match args.source.ancestors().skip(1).take(2).find(is_multi_label) {
        Some(run) => {
            let config = run.join("config.toml");
            format!(
                "labels      several an image, as {} says, each from a probability of 0.5: export the run for its own \
                 thresholds",
                config.display()
            )
        }
        None => return (false, "assumed     one label an image; --multi-label is for several".into()),
    };
    (true, note)
}

/// Describes which tensors of a checkpoint were taken, what was passed over, and what the weights do not say.
fn notes(found: &Found) -> Vec<String> {
    let mut notes = Vec::new();
    if !found.prefix.is_empty() {
        notes.push(format!("tensors     {} under {}", found.weights.len(), found.prefix));
    }
    let own_head = found.architecture.network.head_weight().trim_start_matches("backbone.");
    if !found.head.ends_with(own_head) {
        notes.push(format!("classifier  {}", found.head));
    }
    if !found.alternatives.is_empty() {
        let others = found.alternatives.iter().map(|prefix| display::prefix(prefix));
        notes.push(format!(
            "also there  {}: a whole network, passed over; --key KEY takes it",
            others.collect::<Vec<_>>().join(", ")
        ));
    }
    if !found.passed_over.is_empty() {
        notes.push(format!("passed over {}", found.passed_over));
    }
    if found.architecture.stem == Stem::Cifar {
        notes.push("assumed     stride 1 and no max pool in the 3x3 stem: weights do not say it".into());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_that_is_not_worth_it_is_said() {
        let ms = Duration::from_millis;
        let [fast, slow] = [Speed { fp32: ms(9), int8: ms(3) }, Speed { fp32: ms(3), int8: ms(3) }];
        assert!(int8_warnings(None, Some([100, 0]), 100).is_empty(), "no int8");
        assert!(int8_warnings(Some(fast), Some([90, 89]), 100).is_empty());
        assert!(int8_warnings(Some(fast), None, 100).is_empty());
        assert!(int8_warnings(Some(fast), Some([80, 95]), 100).is_empty(), "a gain is no loss");
        assert_eq!(int8_warnings(Some(slow), None, 100), ["int8 is not faster than float32 on this CPU"]);
        let lossy = int8_warnings(Some(slow), Some([90, 87]), 100);
        assert_eq!(lossy.len(), 2);
        assert!(lossy[1].starts_with("int8 loses 3.0 points of accuracy on these 100 images"), "{lossy:?}");
    }
}
