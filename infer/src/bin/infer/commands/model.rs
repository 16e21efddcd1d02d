//! Loading of the chosen model, with errors that name the flags.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use ferronnx_infer::embed::Embedder;
use ferronnx_infer::session::Optimization;
use ferronnx_infer::{Classifier, ClassifierBuilder, ErrorKind};

use crate::args::{FileArgs, ModelArgs};
use crate::messages;

/// Loads the chosen model as a classifier, and prints the warning of a fallback to the CPU.
pub fn classifier(
    args: &ModelArgs,
    builder: ClassifierBuilder,
    optimization: Optimization,
) -> Result<Classifier> {
    let builder = configured(args, builder, optimization);
    let classifier = load(&args.files, |path| builder.load(path))?;
    say(&classifier);
    Ok(classifier)
}

/// Loads the chosen model to compute embeddings, and prints what is assumed and added.
pub fn embedder(
    args: &ModelArgs,
    builder: ClassifierBuilder,
    optimization: Optimization,
) -> Result<Embedder> {
    let builder = configured(args, builder, optimization);
    let embedder = load(&args.files, |path| Embedder::load(builder, path))?;
    say(embedder.classifier());
    if let Some(value) = embedder.added() {
        messages::note(format_args!(
            "features: the file has no output of them, so what its last linear layer reads is taken (`{value}`)"
        ));
    }
    Ok(embedder)
}

fn configured(args: &ModelArgs, builder: ClassifierBuilder, optimization: Optimization) -> ClassifierBuilder {
    // Threads decode images at the same time and need the cores.
    let options = args.options().spinning(false).bytes(true).halves(true);
    builder.options(options).optimization(optimization)
}

/// Prints what the user should know of a model that was loaded.
fn say(classifier: &Classifier) {
    if let Some(warning) = classifier.session().warning() {
        messages::line("warning", warning);
    }
    if let Some(note) = classifier.session().note() {
        messages::line("note", messages::faster(note));
    }
    messages::assumed(classifier.assumed());
}

/// Calls `load` with the path of the chosen model; an error says how to choose another model, device or runtime.
pub fn load<T>(args: &FileArgs, load: impl FnOnce(&Path) -> ferronnx_infer::Result<T>) -> Result<T> {
    let path = args.path();
    load(&path).or_else(|error| match error.kind() {
        ErrorKind::NotFound if args.chosen_model().is_none() => bail!(
            "no model: there is no ./model.onnx: `--model FILE` or INFER_MODEL names one, `train export` makes one"
        ),
        ErrorKind::NotFound if error.path() == Some(&path) => {
            bail!("{error}: `--model FILE` or INFER_MODEL names the model")
        }
        _ => Err(anyhow!(messages::words(&error))),
    })
}
