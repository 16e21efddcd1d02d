//! One call from a folder of images to a run of your own network.
//!
//! `docs/own-network.md` is the guide, `examples/own_network.rs` a whole program.

use std::path::Path;

use ferronnx_models::Module;

use crate::data::folder::ImageFolder;
use crate::recipe::Recipe;
use crate::run::{Run, RunConfig, RunError, RunFolder};

/// Resumes the run in the folder `out`, or creates it on the images in `data`, with square images of `size` pixels.
///
/// `network` builds the network for a number of classes. `recipe` and `size` count for a new run only. Use
/// [`Run::create`] with a [`RunConfig`] for other settings.
///
/// # Errors
/// [`RunError`] when the images cannot be used, or as [`Run::create`] and [`Run::resume`].
pub fn fit<M: Module>(
    out: impl AsRef<Path>,
    data: impl AsRef<Path>,
    recipe: Recipe,
    size: u32,
    network: impl FnOnce(usize) -> M,
) -> Result<Run<M>, RunError> {
    if out.as_ref().join("config.toml").exists() {
        let (folder, config) = RunFolder::open(out)?;
        let network = network(config.labels.len());
        return Run::resume(folder, config, network);
    }
    let data = ImageFolder::scan(data)?;
    let config = RunConfig::new(&data, recipe, size);
    let network = network(data.classes.len());
    Run::create(out, data, config, network)
}
