//! From what was typed to a run's configuration.

use std::fs;
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ferronnx_models::card::{IMAGENET_MIN_SIZE, Preprocessing};
use ferronnx_models::layers::Attention;
use ferronnx_models::resnet::{Architecture, Stem};
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::device;
use ferronnx_train::recipe::Recipe;
use ferronnx_train::run::RunConfig;
use ferronnx_train::trainer::Amp;
use tch::Device;

use crate::args::{AttentionArg, FitArgs};
use crate::fetch;

/// The recipe, with what the flags change of it.
pub fn recipe(args: &FitArgs) -> Result<Recipe> {
    let default = if args.pretrained == "none" { "from-scratch" } else { "three-phase" };
    let mut recipe = Recipe::load(args.recipe.as_deref().unwrap_or(default))?;
    if let Some(epochs) = args.epochs {
        recipe = recipe.scaled_to(epochs as usize);
    }
    if let Some(batch_size) = args.batch_size {
        recipe.batch_size = batch_size as usize;
    }
    if let Some(patience) = args.early_stopping {
        recipe.early_stopping = Some(patience as usize);
    }
    if args.freeze_stem {
        recipe.freeze_stem();
    }
    Ok(recipe)
}

/// Refuses mixed precision where it gains nothing.
pub fn check_amp(amp: Option<Amp>, device: Device) -> Result<()> {
    ensure!(
        amp.is_none() || matches!(device, Device::Cuda(_)),
        "--amp is for CUDA: on {} it is slower than full precision",
        device::name(device)
    );
    Ok(())
}

/// Everything needed to repeat the run.
pub fn config(
    args: &FitArgs,
    data: PathBuf,
    pretrained: Option<PathBuf>,
    recipe: Recipe,
    folder: &ImageFolder,
    device: Device,
) -> Result<RunConfig> {
    check_amp(args.amp, device)?;
    let size = match args.image_size {
        Some(size) => size,
        None => natural_size(folder, args.skip_bad)?,
    };
    let attention = match args.attention {
        AttentionArg::Cbam => Some(Attention { ratio: args.attention_ratio, kernel: args.attention_kernel }),
        AttentionArg::None => None,
    };
    let stem = args.stem.map_or_else(|| Stem::for_size(size), Into::into);
    Ok(RunConfig {
        version: env!("CARGO_PKG_VERSION").into(),
        data,
        data_digest: folder.digest(),
        limit: args.limit.map(|limit| limit as usize),
        seed: args.seed,
        device: device::name(device),
        amp: args.amp,
        skip_bad: args.skip_bad,
        pretrained,
        stem_init: args.stem_init,
        labels: folder.classes.clone(),
        preprocessing: Preprocessing::for_size(size),
        architecture: Architecture { classes: folder.classes.len(), stem, attention },
        recipe,
    })
}

/// The weights to start from, wherever the run is repeated from.
pub fn pretrained(name: &str) -> Result<Option<PathBuf>> {
    let file = match name {
        "none" => return Ok(None),
        "imagenet" => fetch::imagenet()?,
        file => file.into(),
    };
    let cannot_read = || format!("cannot read --pretrained {}", file.display());
    fs::metadata(&file).with_context(cannot_read)?;
    // Links stay as they are: the Hub's cache names its files by their digests.
    Ok(Some(path::absolute(&file).with_context(cannot_read)?))
}

/// 32 for small images and 224 for photos, judged by the first one, or the first that can be decoded.
fn natural_size(folder: &ImageFolder, skip_bad: bool) -> Result<u32> {
    let mut images = folder.train.iter().map(|sample| ferronnx_infer::decode::file(&sample.path));
    let first = match skip_bad {
        true => images.find_map(Result::ok).context("none of the training images can be decoded")?,
        false => images.next().context("there are no training images")??,
    };
    let (width, height) = first.dimensions();
    Ok(if width.min(height) < IMAGENET_MIN_SIZE { 32 } else { 224 })
}

/// `runs/DATA-TIME`.
pub fn default_out(config: &RunConfig) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    Path::new("runs").join(format!("{}-{now}", config.dataset()))
}
