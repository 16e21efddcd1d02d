//! Bare checkpoints: the network in them, and what they do not say.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ferronnx_infer::assume;
use ferronnx_models::card::Preprocessing;
use ferronnx_models::checkpoint::network::Found;

use super::{network_in, preprocessing};
use crate::args::BareArgs;

/// Bare checkpoint with what its flags and defaults say about it.
pub struct Bare {
    pub found: Found,
    pub preprocessing: Preprocessing,
    pub labels: Vec<String>,
    /// Preprocessing in words, if a part of it is a default.
    pub assumed: Option<String>,
}

impl Bare {
    /// Reads the checkpoint at `path`.
    pub fn read(path: &Path, args: &BareArgs) -> Result<Self> {
        let found = network_in(path, args.key.as_deref(), &args.leave_out)?;
        let architecture = &found.architecture;
        let size = args.image_size.unwrap_or(architecture.stem.usual_size());
        let mut preprocessing = preprocessing(architecture, size);
        let mean = args.mean.clone().unwrap_or(preprocessing.mean);
        let std = args.std.clone().unwrap_or(preprocessing.std);
        (preprocessing.mean, preprocessing.std) =
            assume::to_unit_range(mean, std).context("--mean and --std")?;
        preprocessing.check().context("--mean and --std")?;
        let labels = labels(args.labels.as_deref(), architecture.classes)?;
        let is_assumed = args.image_size.is_none() || args.mean.is_none() || args.std.is_none();
        let assumed = is_assumed.then(|| {
            let Preprocessing { mean, std, .. } = &preprocessing;
            let gray = if architecture.channels == 1 { "gray " } else { "" };
            format!("{gray}images of {size} pixels, mean {mean:?}, standard deviation {std:?}")
        });
        Ok(Self { found, preprocessing, labels, assumed })
    }
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
