//! `train explain`: overlays on an image what speaks for a class at a layer.

use std::io::Cursor;

use anyhow::{Context, Result};
use ferronnx_infer::decode;
use ferronnx_infer::explain::overlay;
use ferronnx_infer::preprocess::{Batch, Preprocessor};
use ferronnx_models::card::{InputForm, Preprocessing};
use ferronnx_models::networks::Classifier;
use ferronnx_models::onnx::Interface;
use ferronnx_models::{Module, Weights, shapes};
use ferronnx_train::layer_cam::layer_cam;
use ferronnx_train::params::{Params, to_tensor};
use ferronnx_train::run::RunFolder;
use image::ImageFormat;
use tch::Device;

use super::bare::Bare;
use super::{architecture, is_run};
use crate::args::ExplainArgs;

/// Network with its weights, and what images and classes are to it.
struct Source {
    network: Classifier,
    weights: Weights,
    preprocessing: Preprocessing,
    labels: Vec<String>,
}

/// Runs the command.
pub fn run(args: &ExplainArgs) -> Result<()> {
    let format = ImageFormat::from_path(&args.out)
        .with_context(|| format!("--out {}: the name has to end in .png or .jpg", args.out.display()))?;
    let Source { network, weights, preprocessing, labels } = source(args)?;
    let class = args.class.as_deref().map(|class| class_of(class, &labels)).transpose()?;
    let parts = parts(&network, &args.layer)?;
    let photo = decode::file(&args.photo)?;
    let preprocessor = Preprocessor::new(&preprocessing);
    let prepared = preprocessor.prepare(&photo);
    let Batch::Float(image) = preprocessor.batch(&[&prepared], InputForm::Float) else {
        unreachable!("floats were asked for")
    };
    let shape = image.shape().to_vec();
    let params = Params::initialise(&shapes::describe(&network, &shape)?.params, 0, Device::Cpu)?;
    params.assign_all(&weights)?;
    let interface = Interface::new(&shape[1..]).output("logits");
    let found = layer_cam(&network, &params, &interface, &to_tensor(&image.into_dyn())?, &parts, class)?;

    let label = &labels[found.class];
    let [_, greatest] = overlay::extremes(&found.map);
    let (height, width) = found.map.dim();
    let layer = &args.layer;
    let title = format!("{label}, {layer} 0-{greatest:.2}");
    let seen = preprocessor.seen(photo.width(), photo.height());
    let sheet = overlay::overlay(&photo, seen, label.clone(), &[(title, found.map)]);
    let write = || format!("cannot write {}", args.out.display());
    let mut encoded = Cursor::new(Vec::new());
    sheet.write_to(&mut encoded, format).with_context(write)?;
    ferronnx_models::files::write_atomically(&args.out, |out| out.write_all(encoded.get_ref()))
        .with_context(write)?;
    say!("class    {label}, logit {:.3}", found.logits[found.class]);
    say!("layer    {layer}: {}, {width}x{height}, greatest {greatest:.3}", found.value);
    say!("written  {}", args.out.display());
    Ok(())
}

fn source(args: &ExplainArgs) -> Result<Source> {
    if is_run(&args.source) {
        args.bare.refuse()?;
        let (run, config) = RunFolder::open(&args.source)?;
        let network = Classifier::new(&architecture(&config, &args.source)?)?;
        let (weights, _) = run.weights()?;
        return Ok(Source { network, weights, preprocessing: config.preprocessing, labels: config.labels });
    }
    let Bare { found, preprocessing, labels, assumed } = Bare::read(&args.source, &args.bare)?;
    if let Some(assumed) = assumed {
        say!("assumed  {assumed}");
    }
    let network = Classifier::new(&found.architecture)?;
    Ok(Source { network, weights: found.weights, preprocessing, labels })
}

/// Index of the class that `--class` names.
fn class_of(class: &str, labels: &[String]) -> Result<usize> {
    let index = || class.parse().ok().filter(|&index: &usize| index < labels.len());
    labels.iter().position(|label| label == class).or_else(index).with_context(|| {
        format!("--class {class}: no label of the network, and no index from 0 to {}", labels.len() - 1)
    })
}

/// Parts of the network that `--layer` names: by a role as `@stages:4`, or one by its path.
fn parts(network: &impl Module, name: &str) -> Result<Vec<String>> {
    let Some(role) = name.strip_prefix('@') else { return Ok(vec![name.to_owned()]) };
    let patterns = network.roles().get(role).map(|patterns| {
        patterns.into_iter().map(|pattern| pattern.trim_end_matches(".*").to_owned()).collect()
    });
    patterns.with_context(|| format!("--layer {name}: the network declares no such stage"))
}
