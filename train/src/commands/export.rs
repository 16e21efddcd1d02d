//! `train export`: from a run or a checkpoint to a verified `.onnx`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use image::RgbImage;
use infer::preprocess::Preprocessor;
use infer::{assume, labelled};
use models::Weights;
use models::agreement::Disagreement;
use models::card::{ModelCard, Precision, Preprocessing, TrainingSummary};
use models::certificate::Certificate;
use models::onnx::Opset;
use models::resnet::{Architecture, ResNet18};
use train::data::folder::ImageFolder;
use train::data::{Sample, split};
use train::export::{CALIBRATION_PICTURES, Drift, ExportOptions, Exported, Pictures, Trained, card};
use train::run::{RunConfig, RunFolder};
use train::{checkpoint, pretrained};

use crate::args::{ExportArgs, PrecisionArg};
use crate::display;

/// Pictures whose every value is compared.
const DRIFT_PICTURES: usize = 16;

/// Pictures named for which the file gives another class.
const DISAGREEING: usize = 10;

/// What is exported, whatever it came from.
struct Source {
    architecture: Architecture,
    weights: Weights,
    card: ModelCard,
    /// Pictures to compare on, and what they are.
    pictures: Pictures,
    description: String,
    /// Pictures that int8 takes the ranges of values from.
    calibration: Vec<RgbImage>,
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
        fold: !args.no_fold,
        calibration: args.ranges.into(),
        tolerance: args.tolerance,
    };
    infer::runtime::load(args.ort_lib.as_deref())?;
    let source = if args.source.is_dir() { from_run(args)? } else { from_checkpoint(args)? };
    let network = ResNet18::new(&source.architecture)?;
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
        let pictures = source.pictures.spread(DRIFT_PICTURES);
        let drift = trained.drift(&pictures, &options)?;
        say!("{}\n", drift_table(&drift, rows, pictures.images.len()));
    }
    let started = Instant::now();
    let exported = trained.export(&args.output, &source.pictures, &options)?;
    report(args, &source, &exported, started.elapsed());
    Ok(())
}

fn report(args: &ExportArgs, source: &Source, exported: &Exported, took: Duration) {
    let Certificate { agreement, tolerance, weights, goldens, .. } = &exported.certificate;
    say!("network     {}", source.architecture);
    say!("verified    on {} {}, ONNX Runtime against libtorch", agreement.pictures, source.description);
    say!(
        "difference  {:.2e} at most, {:.2e} of the largest logit (allowed {tolerance:.0e}), {:.2e} in the mean",
        agreement.max_difference,
        agreement.max_relative_difference,
        agreement.mean_difference,
    );
    let ties = if agreement.ties == 0 { String::new() } else { format!(", {} ties", agreement.ties) };
    say!("agreement   top-1 {} of {}{ties}", agreement.agreeing, agreement.pictures);
    for Disagreement { picture, reference, found, margin } in exported.disagreeing.iter().take(DISAGREEING) {
        let (name, labels) = (&source.pictures.names[*picture], &source.card.labels);
        let (reference, found) = (&labels[*reference], &labels[*found]);
        say!("            {name}: {reference} or {found}, {margin:.1e} of the largest logit apart");
    }
    match exported.disagreeing.len().saturating_sub(DISAGREEING) {
        0 => {}
        more => say!("            and {more} more"),
    }
    if let Some([libtorch, file]) = exported.right {
        let percent = |right: usize| 100.0 * right as f64 / agreement.pictures as f64;
        say!("accuracy    {:.1} %, libtorch {:.1} %", percent(file), percent(libtorch));
    }
    say!("certificate {} pictures, weights sha256 {}", goldens.len(), &weights.sha256[..16]);
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

/// What departs most from libtorch, a node a line.
fn drift_table(drift: &[Drift], rows: usize, pictures: usize) -> String {
    let row = |Drift { node, added, relative, max_difference, max_value }: &Drift| {
        let number = |value: &f64| format!("{value:.1e}");
        [node.clone(), number(added), number(relative), number(max_difference), number(max_value)]
    };
    let table = display::table(["node", "added", "drift", "largest", "of"], drift.iter().take(rows).map(row));
    let shown = rows.min(drift.len());
    format!(
        "drift from libtorch on {pictures} pictures: the {shown} worst of {} nodes\n\n{}\n\n \
         added    root mean square of the differences, relative to that of the values, beyond what came in\n \
         drift    the same with what came in; largest: one difference; of: the largest value",
        drift.len(),
        table
    )
}

fn from_run(args: &ExportArgs) -> Result<Source> {
    let bare = [
        ("--labels", args.labels.is_some()),
        ("--image-size", args.image_size.is_some()),
        ("--mean", args.mean.is_some()),
        ("--std", args.std.is_some()),
    ];
    if let Some((flag, _)) = bare.iter().find(|(_, given)| *given) {
        anyhow::bail!("{flag} is for bare checkpoints: a run knows it already");
    }
    let (run, config) = RunFolder::open(&args.source)?;
    let (weights, file) = run.weights()?;
    let found = Architecture::of(&weights).with_context(|| file.display().to_string())?;
    ensure!(
        found.same_shapes(&config.architecture),
        "{} holds a {found}, the run is a {}",
        file.display(),
        config.architecture
    );
    let preprocessor = Preprocessor::new(&config.preprocessing);
    let own = own_pictures(&config);
    let (pictures, description) = match (&args.pictures, &own) {
        (Some(folder), _) => chosen_pictures(folder, &config.labels, &preprocessor)?,
        (None, Ok((_, validation))) => {
            let validation = split::limited(validation, Pictures::most(&preprocessor), config.seed);
            let pictures = Pictures::load(&validation, &preprocessor, config.skip_bad)?;
            (pictures, "validation pictures".to_owned())
        }
        (None, Err(error)) => {
            eprintln!("warning: the run's pictures cannot be read, generated ones are compared: {error:#}");
            generated_pictures(&preprocessor)
        }
    };
    let calibration = match (&args.calibration, own) {
        _ if args.precision != PrecisionArg::Int8 => Vec::new(),
        (Some(folder), _) => calibration_pictures(folder, &preprocessor)?,
        (None, own) => {
            let (train, _) = own.context("int8 needs the run's pictures, or --calibration DIR")?;
            let train = split::limited(&train, CALIBRATION_PICTURES, config.seed);
            Pictures::load(&train, &preprocessor, config.skip_bad)?.images
        }
    };
    let training = run.result()?.map(|result| TrainingSummary {
        recipe: config.recipe.name.clone(),
        dataset: config.dataset(),
        train_images: result.train_images,
        epoch: result.best_epoch,
        validation_accuracy: result.validation_accuracy,
        test_accuracy: result.test_accuracy,
        seed: config.seed,
    });
    let architecture = serde_json::to_value(config.architecture)?;
    let card = card(config.labels.clone(), config.preprocessing.clone(), architecture, training);
    Ok(Source { architecture: config.architecture, weights, card, pictures, description, calibration })
}

/// The pictures that the run trained on and those that it held out, found again by its seed.
fn own_pictures(config: &RunConfig) -> Result<(Vec<Sample>, Vec<Sample>)> {
    let folder = ImageFolder::scan(&config.data)?;
    ensure!(folder.classes == config.labels, "{} has other classes now", config.data.display());
    ensure!(
        folder.digest() == config.data_digest,
        "the pictures in {} are not those of the run any more",
        config.data.display()
    );
    Ok(config.split(folder.train))
}

/// The pictures of a folder, with their classes where its folders are the labels.
fn chosen_pictures(
    folder: &Path,
    labels: &[String],
    preprocessor: &Preprocessor,
) -> Result<(Pictures, String)> {
    let description = format!("pictures of {}", folder.display());
    let most = Pictures::most(preprocessor);
    if let Ok(samples) = labelled::scan(folder, labels) {
        let samples = split::limited(&samples, most, 0);
        return Ok((Pictures::load(&samples, preprocessor, false)?, description));
    }
    let samples = unlabelled(folder, "--pictures", most)?;
    let pictures = Pictures { labels: None, ..Pictures::load(&samples, preprocessor, false)? };
    Ok((pictures, description))
}

/// Pictures of a folder, from all over it.
fn unlabelled(folder: &Path, flag: &str, most: usize) -> Result<Vec<Sample>> {
    let paths = infer::files::pictures_in(folder)?;
    ensure!(!paths.is_empty(), "{flag} {}: there are no pictures", folder.display());
    let samples: Vec<_> = paths.into_iter().map(|path| Sample { path, label: 0 }).collect();
    Ok(split::limited(&samples, most, 0))
}

fn calibration_pictures(folder: &Path, preprocessor: &Preprocessor) -> Result<Vec<RgbImage>> {
    let samples = unlabelled(folder, "--calibration", CALIBRATION_PICTURES)?;
    Ok(Pictures::load(&samples, preprocessor, false)?.images)
}

fn generated_pictures(preprocessor: &Preprocessor) -> (Pictures, String) {
    (Pictures::generated(preprocessor), "generated pictures".into())
}

fn from_checkpoint(args: &ExportArgs) -> Result<Source> {
    let path = &args.source;
    let weights = pretrained::with_prefix(checkpoint::load(path)?);
    let architecture = Architecture::of(&weights).with_context(|| path.display().to_string())?;
    let size = args.image_size.unwrap_or(architecture.stem.usual_size());
    let mut preprocessing = Preprocessing::for_size(size);
    preprocessing.mean = args.mean.unwrap_or(preprocessing.mean);
    preprocessing.std = args.std.unwrap_or(preprocessing.std);
    preprocessing.check().map_err(anyhow::Error::msg).context("--mean and --std")?;
    let labels = labels(args.labels.as_deref(), architecture.classes)?;
    let preprocessor = Preprocessor::new(&preprocessing);
    let (pictures, description) = match &args.pictures {
        Some(folder) => chosen_pictures(folder, &labels, &preprocessor)?,
        None => generated_pictures(&preprocessor),
    };
    let calibration = match &args.calibration {
        Some(folder) if args.precision == PrecisionArg::Int8 => calibration_pictures(folder, &preprocessor)?,
        _ => Vec::new(),
    };
    let card = card(labels, preprocessing, serde_json::to_value(architecture)?, None);
    Ok(Source { architecture, weights, card, pictures, description, calibration })
}

fn labels(file: Option<&Path>, classes: usize) -> Result<Vec<String>> {
    let Some(file) = file else {
        return Ok((0..classes).map(|class| format!("class {class}")).collect());
    };
    let labels = assume::read_labels(file).context("--labels")?;
    ensure!(
        labels.len() == classes,
        "--labels {} names {} classes, the checkpoint has {classes}",
        file.display(),
        labels.len()
    );
    Ok(labels)
}
