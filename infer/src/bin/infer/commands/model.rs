//! The model that the user chose, or how to choose one.

use std::path::Path;

use anyhow::{Result, bail};
use ferronnx_infer::classifier::Builder;
use ferronnx_infer::session::{Optimization, Options};
use ferronnx_infer::{Classifier, Error};

use crate::args::{FileArgs, ModelArgs};
use crate::report;

/// The chosen model as a classifier, with its warning for the user to see.
pub fn classifier(args: &ModelArgs, builder: Builder, optimization: Optimization) -> Result<Classifier> {
    // The cores decode images meanwhile.
    let options = Options { without_spinning: true, ..args.options() };
    let builder = builder.options(options).optimization(optimization);
    let classifier = load(&args.files, |path| builder.load(path))?;
    if let Some(warning) = classifier.session().warning() {
        report::line("warning", warning);
    }
    Ok(classifier)
}

/// What `load` makes of the chosen model; where there is none, the error says how to name one.
pub fn load<T>(args: &FileArgs, load: impl FnOnce(&Path) -> ferronnx_infer::Result<T>) -> Result<T> {
    let chosen = args.chosen_model();
    match load(&args.path()) {
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
