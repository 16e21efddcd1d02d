//! `train export`: from a run or a checkpoint to a verified `.onnx`.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use image::RgbImage;
use infer::preprocess::Preprocessor;
use models::Weights;
use models::card::{
    CARD_FORMAT, InputForm, ModelCard, Precision, Preprocessing, Provenance, TrainingSummary,
};
use models::onnx::{Opset, PRODUCER};
use models::resnet::{Architecture, ResNet18};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};
use train::data::batches::Loader;
use train::data::folder::ImageFolder;
use train::data::pictures::{Loading, PictureSet};
use train::data::split;
use train::error::TorchError;
use train::export::{ExportOptions, Trained};
use train::run::{RunConfig, RunFolder};
use train::{checkpoint, pretrained};

use crate::args::ExportArgs;

/// Pictures compared at most, and at once.
const PICTURES: usize = 1_000;
const BATCH: usize = 100;

/// Memory for them, as floats.
const IMAGES_BYTES: usize = 1 << 30;

/// What is exported, whatever it came from.
struct Source {
    architecture: Architecture,
    weights: Weights,
    card: ModelCard,
    /// Images `[N, 3, H, W]` to compare on.
    images: Vec<Tensor>,
    /// What they are.
    description: String,
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<()> {
    ensure!(args.tolerance >= 0.0, "--tolerance must not be negative");
    let options =
        ExportOptions { opset: Opset::new(args.opset)?, fold: !args.no_fold, tolerance: args.tolerance };
    infer::runtime::load(args.ort_lib.as_deref())?;
    let source = if args.source.is_dir() { from_run(args)? } else { from_checkpoint(args)? };
    let network = ResNet18::new(&source.architecture)?;
    let started = Instant::now();
    let trained = Trained { network: &network, weights: &source.weights, card: &source.card };
    let found = trained.export(&args.output, &source.images, &options)?;
    say!("network     {}", source.architecture);
    say!("verified    on {} {}, ONNX Runtime against libtorch", found.images, source.description);
    say!(
        "difference  {:.2e} at most, {:.2e} of the largest logit (allowed {:.0e})",
        found.max_difference,
        found.max_relative_difference,
        args.tolerance
    );
    let ties = if found.ties == 0 { String::new() } else { format!(", {} ties", found.ties) };
    say!("agreement   top-1 {} of {}{ties}", found.agreeing, found.images);
    say!(
        "written     {} ({:.1} MB, opset {}) in {:.1} s",
        args.output.display(),
        found.bytes as f64 / 1e6,
        args.opset,
        started.elapsed().as_secs_f64()
    );
    say!("next: infer classify --model {} PHOTO", args.output.display());
    Ok(())
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
    let (images, description) = match validation_images(&config, &preprocessor) {
        Ok(images) => (images, "validation pictures".to_owned()),
        Err(error) => {
            eprintln!("warning: the run's pictures cannot be read, generated ones are compared: {error:#}");
            (generated_images(&preprocessor)?, "generated pictures".to_owned())
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
    let card = card(config.labels.clone(), config.preprocessing.clone(), &config.architecture, training)?;
    Ok(Source { architecture: config.architecture, weights, card, images, description })
}

/// The pictures that the run held out, found again by its seed.
fn validation_images(config: &RunConfig, preprocessor: &Preprocessor) -> Result<Vec<Tensor>> {
    let folder = ImageFolder::scan(&config.data)?;
    ensure!(folder.classes == config.labels, "{} has other classes now", config.data.display());
    ensure!(
        folder.digest() == config.data_digest,
        "the pictures in {} are not those of the run any more",
        config.data.display()
    );
    let (_, validation) = config.split(folder.train);
    // Of all classes, and as many as memory allows for.
    let most = PICTURES.min(IMAGES_BYTES / (4 * preprocessor.input_len())).max(1);
    let validation = split::limited(&validation, most, config.seed);
    let how = Loading { skip_bad: config.skip_bad, ..Loading::new(Device::Cpu) };
    let set = PictureSet::load(validation, preprocessor, how, || ())?;
    let loader = Loader::new(&set, preprocessor, Device::Cpu);
    loader.in_order(BATCH).map(|batch| Ok(batch?.images)).collect()
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
    let images = generated_images(&Preprocessor::new(&preprocessing))?;
    let card = card(labels, preprocessing, &architecture, None)?;
    Ok(Source { architecture, weights, card, images, description: "generated pictures".into() })
}

fn labels(file: Option<&Path>, classes: usize) -> Result<Vec<String>> {
    let Some(file) = file else {
        return Ok((0..classes).map(|class| format!("class {class}")).collect());
    };
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read --labels {}", file.display()))?;
    let labels: Vec<String> =
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    ensure!(
        labels.len() == classes,
        "--labels {} names {} classes, the checkpoint has {classes}",
        file.display(),
        labels.len()
    );
    Ok(labels)
}

/// Pictures of random colours, from smooth to noisy, the same every time.
fn generated_images(preprocessor: &Preprocessor) -> Result<Vec<Tensor>> {
    let side = preprocessor.size();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut values = vec![0.0; (3 * side * side) as usize];
    (1..=8u32)
        .map(|grain| {
            let small =
                RgbImage::from_fn(grain * side / 8, grain * side / 8, |_, _| image::Rgb(rng.random()));
            preprocessor.normalize_into(&preprocessor.prepare(&small), &mut values);
            let images = Tensor::f_from_slice(&values).map_err(TorchError::from)?;
            let side = i64::from(side);
            Ok(images.f_view([1, 3, side, side]).map_err(TorchError::from)?)
        })
        .collect()
}

fn card(
    labels: Vec<String>,
    preprocessing: Preprocessing,
    architecture: &Architecture,
    training: Option<TrainingSummary>,
) -> Result<ModelCard> {
    let trained = training.is_some();
    Ok(ModelCard {
        format: CARD_FORMAT,
        labels,
        preprocessing,
        input: InputForm::Float,
        precision: Precision::Fp32,
        observed: Vec::new(),
        architecture: serde_json::to_value(architecture)?,
        training,
        provenance: Provenance {
            producer: format!("{PRODUCER} {}", env!("CARGO_PKG_VERSION")),
            engine: if trained { "libtorch 2.13.0" } else { "unknown" }.into(),
            created: jiff::Timestamp::now().round(jiff::Unit::Second)?.to_string(),
        },
    })
}
