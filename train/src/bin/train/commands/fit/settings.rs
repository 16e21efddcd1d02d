//! Configuration of a new run from the flags of `train fit` and `train find-lr`.

use std::fs;
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ferronnx_models::card::IMAGENET_MIN_SIZE;
use ferronnx_models::networks::{Architecture, Classifier, Network};
use ferronnx_models::{Module, shapes};
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::images::Loading;
use ferronnx_train::data::{Sample, Source};
use ferronnx_train::device::DeviceRequest;
use ferronnx_train::loss::LossName;
use ferronnx_train::recipe::Recipe;
use ferronnx_train::run::RunConfig;
use ferronnx_train::trainer::Amp;
use image::RgbImage;

use super::super::preprocessing;
use crate::args::SetupArgs;
use crate::fetch;

/// Loads the recipe, applies the flags that change it, and prints the notes about it.
pub fn recipe(args: &SetupArgs) -> Result<Recipe> {
    let (recipe, notes) = recipe_with_notes(args)?;
    notes.iter().for_each(|note| say!("note: {note}"));
    Ok(recipe)
}

/// Loads the recipe and applies the flags that change it; returns notes about settings that do nothing, too.
pub fn recipe_with_notes(args: &SetupArgs) -> Result<(Recipe, Vec<String>)> {
    let default = if args.pretrained == "none" { "one-cycle" } else { "fine-tune" };
    let (mut recipe, mut notes) = Recipe::load_with_notes(args.recipe.as_deref().unwrap_or(default))?;
    if let Some(epochs) = args.epochs {
        let scaled = recipe.scaled_to(epochs as usize);
        for phase in &recipe.phases[scaled.phases.len()..] {
            notes.push(format!("with --epochs {epochs} the phase {:?} is left out", phase.name));
        }
        recipe = scaled;
    }
    if let Some(batch_size) = args.batch_size {
        recipe.batch_size = batch_size as usize;
    }
    if let Some(patience) = args.early_stopping {
        recipe.early_stopping = Some(patience as usize);
    }
    recipe.mirrored_test |= args.mirrored_test;
    balance(&mut recipe, args);
    recipe.check()?;
    notes.extend(idle_flags(args, &recipe));
    Ok((recipe, notes))
}

/// Describes each flag that is given and changes nothing.
fn idle_flags(args: &SetupArgs, recipe: &Recipe) -> Vec<String> {
    let new = args.pretrained == "none";
    let weights = "there are no pretrained weights";
    let ends = recipe.early_stopping_has_effect();
    let flags = [
        ("--pretrained-key", args.pretrained_key.is_some() && new, weights),
        ("--stem-init", args.stem_init.is_some() && new, weights),
        ("--early-stopping", args.early_stopping.is_some() && !ends, "no phase has more epochs"),
        ("--mirrored-test", args.mirrored_test && args.multi_label, "it is for one label an image"),
    ];
    let idle = flags.into_iter().filter(|(_, idle, _)| *idle).map(|(flag, _, why)| (flag, why));
    idle.chain(args.network.idle_flags()).map(|(flag, why)| format!("{flag} does nothing: {why}")).collect()
}

/// Applies the flags for imbalanced classes.
fn balance(recipe: &mut Recipe, args: &SetupArgs) {
    if let Some(loss) = args.loss.map(LossName::from) {
        // The exponent belongs to the recipe's own loss.
        recipe.loss.gamma = recipe.loss.gamma.filter(|_| recipe.loss.name == loss);
        recipe.loss.name = loss;
    }
    if let Some(weights) = &args.class_weights {
        recipe.loss.class_weights = Some(weights.clone());
    }
    if let Some(sampling) = args.sampling {
        recipe.sampling = sampling.into();
    }
}

/// Refuses mixed precision on devices where it is slower.
pub fn check_amp(amp: Option<Amp>, device: DeviceRequest) -> Result<()> {
    ensure!(
        amp.is_none() || matches!(device, DeviceRequest::Cuda(_)),
        "--amp is for CUDA: on {device} it is slower than full precision"
    );
    Ok(())
}

/// Makes the configuration of a new run, and its network; with `skip_bad`, an image that cannot be decoded is no reason to
/// refuse the size of another.
pub fn config(
    args: &SetupArgs,
    data: &ImageFolder,
    pretrained: Option<PathBuf>,
    recipe: Recipe,
    device: DeviceRequest,
    skip_bad: bool,
) -> Result<(RunConfig, Classifier)> {
    let size = match args.image_size {
        Some(size) => size,
        None => natural_size(data, skip_bad)?,
    };
    let architecture = Architecture {
        network: args.network.network,
        classes: data.classes.len(),
        channels: args.channels.count(),
        stem: args.network.stem(size),
        attention: args.network.attention(),
    };
    let network = Classifier::new(&architecture)?;
    let mut config = RunConfig {
        limit: args.limit.map(|limit| limit as usize),
        seed: args.seed,
        device,
        amp: args.amp,
        graphs: !args.no_graphs,
        deterministic: args.deterministic,
        skip_bad: args.skip_bad,
        shuffle_window: args.shuffle_window.map_or(Loading::DEFAULT_WINDOW, |images| images as usize),
        pretrained,
        pretrained_key: args.pretrained_key.clone(),
        stem_init: args.stem_init.unwrap_or_default(),
        preprocessing: preprocessing(&architecture, size),
        architecture: serde_json::to_value(architecture)?,
        ..RunConfig::new(data, recipe, size)
    };
    if args.freeze_stem {
        let input = [1, architecture.channels, size as usize, size as usize];
        freeze_stem(&mut config.recipe, &network, &input)?;
    }
    Ok((config, network))
}

fn freeze_stem(recipe: &mut Recipe, network: &Classifier, input: &[usize]) -> Result<()> {
    let described = shapes::describe(network, input)?;
    let names: Vec<&str> = described.params.iter().map(|param| param.name.as_str()).collect();
    Ok(recipe.freeze_stem(&names, &network.roles())?)
}

/// Finds the weights to start from, as an absolute path.
pub fn pretrained(name: &str, network: Network) -> Result<Option<PathBuf>> {
    let file = match name {
        "none" => return Ok(None),
        "imagenet" => fetch::imagenet(network)?,
        file => file.into(),
    };
    let cannot_read = || format!("cannot read --pretrained {}", file.display());
    fs::metadata(&file).with_context(cannot_read)?;
    // Links are kept: the Hub's cache names its files by their digests.
    Ok(Some(path::absolute(&file).with_context(cannot_read)?))
}

/// Chooses 32 for small images and 224 for photos, by the first image that can be decoded.
fn natural_size(folder: &ImageFolder, skip_bad: bool) -> Result<u32> {
    let decoded = |sample: &Sample| -> Result<RgbImage> {
        match &folder.source {
            Source::Files => Ok(ferronnx_infer::decode::file(&sample.path)?),
            shards => Ok(shards.decoded(sample)?),
        }
    };
    let mut images = folder.train.iter().map(decoded);
    let first = match skip_bad {
        true => images.find_map(Result::ok).context("none of the training images can be decoded")?,
        false => images.next().context("there are no training images")??,
    };
    let (width, height) = first.dimensions();
    Ok(if width.min(height) < IMAGENET_MIN_SIZE { 32 } else { 224 })
}

/// Names the default run folder, `runs/DATA-TIME`.
pub fn default_out(config: &RunConfig) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    Path::new("runs").join(format!("{}-{now}", config.dataset()))
}
