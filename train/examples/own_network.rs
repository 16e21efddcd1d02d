//! Your own network from images to a verified `.onnx`: a small CNN with squeeze-and-excitation.
//!
//! It is trained in a run folder. Ctrl-C or a kill stops it, and the same command resumes it.
//!
//! ```sh
//! cargo run --release -p ferronnx-train --example own_network -- DATA runs/small small.onnx PHOTO.png
//! ```
//!
//! `docs/own-network.md` is the guide to it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use ferronnx_infer::{Classifier, decode, verify::Verification};
use ferronnx_models::layers::{BatchNorm2d, Conv2d, Linear};
use ferronnx_models::{Module, Ops, Reduce};
use ferronnx_train::run::{EachEpoch, Outcome};
use ferronnx_train::{export::ExportOptions, fit::fit, interrupt::Interrupt, recipe::Recipe};

/// Squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507). `[N, C, H, W]` -> `[N, C, H, W]`.
struct SqueezeExcitation {
    name: String,
    channels: usize,
}

impl Module for SqueezeExcitation {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let Self { name, channels } = self;
        let squeeze = Linear::new(format!("{name}.squeeze"), *channels, (channels / 8).max(1));
        let excite = Linear::new(format!("{name}.excite"), (channels / 8).max(1), *channels);
        ops.scope(name, || {
            let pooled = ops.reduce(x, Reduce::Mean, &[2, 3], false)?;
            let hidden = ops.relu(&ops.linear(&pooled, &squeeze)?)?;
            let gate = ops.sigmoid(&ops.linear(&hidden, &excite)?)?;
            ops.observe(&format!("{name}.gate"), &gate);
            ops.mul(x, &ops.unsqueeze(&gate, &[2, 3])?)
        })
    }
}

/// A small CNN. `[N, 3, H, W]` -> `[N, classes]`.
pub struct SmallNet {
    /// Number of logits.
    pub classes: usize,
}

impl Module for SmallNet {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let conv = |name, inputs, outputs| Conv2d { padding: 1, ..Conv2d::new(name, inputs, outputs, 3) };
        let mut x = ops.relu(&ops.conv2d(x, &conv("stem".into(), 3, 16))?)?;
        for (name, inputs, channels) in [("stage1", 16, 32), ("stage2", 32, 64), ("stage3", 64, 128)] {
            let conv = Conv2d { stride: 2, ..conv(format!("{name}.conv"), inputs, channels) };
            let norm = BatchNorm2d::new(format!("{name}.norm"), channels);
            let y = ops.relu(&ops.batch_norm(&ops.conv2d(&x, &conv)?, &norm)?)?;
            x = SqueezeExcitation { name: format!("{name}.se"), channels }.forward(ops, &y)?;
        }
        let pooled = ops.reduce(&x, Reduce::Mean, &[2, 3], false)?;
        ops.linear(&pooled, &Linear::new("head", 128, self.classes))
    }
}

/// Trains on `data` in the run folder `out`, or resumes there; writes `model`, verifies it and classifies `image`.
pub fn run(data: &Path, out: &Path, model: &Path, image: &Path) -> Result<()> {
    let recipe = Recipe::load("from-scratch")?.scaled_to(6);
    let mut run = fit(out, data, recipe, 32, |classes| SmallNet { classes })?;
    let print = EachEpoch::new(|epoch| println!("{}", epoch.metrics));
    let outcome = run.train(&mut (Interrupt::listen(|| ())?, print))?;
    ensure!(matches!(outcome, Outcome::Finished(_)), "interrupted: the same command resumes the run");
    run.export(model, &ExportOptions { observed: true, ..ExportOptions::default() })?;
    ensure!(Verification::of_file(model, &Default::default(), None)?.holds(), "it does not hold");
    let guess = &Classifier::builder().top_k(1).load(model)?.classify(&decode::file(image)?)?[0];
    println!("{} {:.1} %", guess.label, 100.0 * guess.probability);
    Ok(())
}

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [data, out, model, image] = &paths[..] else { bail!("usage: own_network DATA RUN MODEL IMAGE") };
    run(data, out, model, image)
}
