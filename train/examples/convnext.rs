//! A small ConvNeXt (Liu et al. 2022, arXiv:2201.03545), from images to a verified `.onnx` in each precision.
//!
//! ```sh
//! cargo run --release -p ferronnx-train --example convnext -- DATA runs/convnext convnext.onnx PHOTO.png
//! ```
//!
//! `docs/own-network.md` tells how it was written.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use ferronnx_infer::{Classifier, decode, verify::Verification};
use ferronnx_models::card::Precision;
use ferronnx_models::layers::{Conv2d, LayerNorm, LayerScale, Linear, Path as Name};
use ferronnx_models::{Module, Ops, Reduce, Roles};
use ferronnx_train::run::{EachEpoch, Outcome};
use ferronnx_train::{export::ExportOptions, fit::fit, recipe::Recipe};

/// Layer normalisation over the channels of images. `[N, C, H, W]` -> `[N, C, H, W]`.
fn channel_norm<O: Ops>(ops: &O, x: &O::Value, name: &Name, channels: usize) -> Result<O::Value, O::Error> {
    let norm = LayerNorm { eps: 1e-6, ..LayerNorm::new(name.as_str(), channels) };
    ops.scope(name.as_str(), || {
        let last = ops.permute(x, &[0, 2, 3, 1])?;
        ops.permute(&ops.layer_norm(&last, &norm)?, &[0, 3, 1, 2])
    })
}

/// A block of ConvNeXt. `[N, C, H, W]` -> `[N, C, H, W]`.
pub struct Block {
    /// Full name; the parameters have the names of the paper's code below it.
    pub name: Name,
    /// Number of channels.
    pub channels: usize,
    /// Probability with which training leaves the block out.
    pub drop_path: f32,
}

impl Module for Block {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let Self { name, channels, drop_path } = self;
        let c = *channels;
        let conv = |part, inputs, outputs, kernel| Conv2d {
            bias: true,
            ..Conv2d::new(name / part, inputs, outputs, kernel)
        };
        let depthwise = Conv2d { padding: 3, groups: c, ..conv("dwconv", c, c, 7) };
        ops.scope(name.as_str(), || {
            let y = channel_norm(ops, &ops.conv2d(x, &depthwise)?, &(name / "norm"), c)?;
            let y = ops.gelu(&ops.conv2d(&y, &conv("pwconv1", c, 4 * c, 1))?)?;
            let y = ops.conv2d(&y, &conv("pwconv2", 4 * c, c, 1))?;
            let y = ops.layer_scale(&y, &LayerScale::new(name.as_str(), c))?;
            ops.add(x, &ops.drop_path(&y, *drop_path)?)
        })
    }
}

/// ConvNeXt of two stages. `[N, 3, H, W]` -> `[N, classes]`.
pub struct ConvNext {
    /// Number of logits.
    pub classes: usize,
}

impl Module for ConvNext {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let stem = Name::new("stem");
        let patchify = Conv2d { stride: 4, bias: true, ..Conv2d::new(&stem / 0, 3, 40, 4) };
        let mut x = channel_norm(ops, &ops.conv2d(x, &patchify)?, &(stem / 1), 40)?;
        for (stage, channels) in [40, 80].into_iter().enumerate() {
            let name = Name::new("stages") / stage;
            if stage > 0 {
                let (down, inputs) = (&name / "downsample", channels / 2);
                let halve = Conv2d { stride: 2, bias: true, ..Conv2d::new(&down / 1, inputs, channels, 2) };
                x = ops.conv2d(&channel_norm(ops, &x, &(down / 0), inputs)?, &halve)?;
            }
            for block in 0..2 {
                x = Block { name: &name / "blocks" / block, channels, drop_path: 0.05 }.forward(ops, &x)?;
            }
        }
        let pooled = ops.reduce(&x, Reduce::Mean, &[2, 3], false)?;
        let norm = LayerNorm { eps: 1e-6, ..LayerNorm::new("norm", 80) };
        ops.linear(&ops.layer_norm(&pooled, &norm)?, &Linear::new("head", 80, self.classes))
    }

    fn roles(&self) -> Roles {
        Roles::default().stem(["stem.*"]).stages([["stages.0.*"], ["stages.1.*"]]).head(["head.*"])
    }
}

/// Trains on `data` in the run folder `out`, or resumes there; then writes `model` in each precision, verifies it and
/// classifies `image` with it.
pub fn run(data: &Path, out: &Path, model: &Path, image: &Path) -> Result<()> {
    let image = decode::file(image)?;
    let mut run = fit(out, data, Recipe::load("from-scratch")?, 32, |classes| ConvNext { classes })?;
    let mut print = EachEpoch::new(|epoch| println!("{}", epoch.metrics));
    let outcome = run.train(&mut print)?;
    ensure!(matches!(outcome, Outcome::Finished(_)), "stopped: the same command resumes the run");
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        let file = model.with_extension(format!("{precision}.onnx"));
        let exported = run.export(&file, &ExportOptions { precision, ..ExportOptions::default() })?;
        let difference = exported.certificate.agreement.max_relative_difference;
        ensure!(
            Verification::of_file(&file, &Default::default(), None)?.holds(),
            "{precision} does not hold"
        );
        let guess = &Classifier::builder().top_k(1).load(&file)?.classify(&image)?[0];
        let (label, probability, kilobytes) =
            (&guess.label, 100.0 * guess.probability, exported.bytes / 1000);
        println!("{precision}: {label} {probability:.1} %, {kilobytes} kB, {difference:.1e} from libtorch");
    }
    Ok(())
}

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [data, out, model, image] = &paths[..] else { bail!("usage: convnext DATA RUN MODEL IMAGE") };
    run(data, out, model, image)
}
