//! The model that the user chose, or how to choose one.

use std::path::Path;

use anyhow::{Result, bail};
use infer::Error;

use crate::args::ModelArgs;

/// What `load` makes of the chosen model; where there is none, the error says how to name one.
pub fn load<T>(args: &ModelArgs, load: impl FnOnce(&Path) -> infer::Result<T>) -> Result<T> {
    let chosen = args.chosen_model();
    match load(chosen.as_deref().unwrap_or(Path::new("model.onnx"))) {
        Err(Error::NotFound { .. }) if chosen.is_none() => {
            bail!(
                "no model: there is no ./model.onnx: `--model FILE` or INFER_MODEL names one, `train export` makes one"
            )
        }
        Err(error @ Error::NotFound { .. }) => {
            bail!("{error}: `--model FILE` or INFER_MODEL names the model")
        }
        result => Ok(result?),
    }
}
