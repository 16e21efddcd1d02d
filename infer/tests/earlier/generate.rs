use std::path::Path;
use anyhow::Result;
use models::card::{InputForm, Precision};
use models::layers::{Attention, BatchNorm2d, Cbam, Conv2d, Linear};
use models::{Module, Ops, Reduce};
use train::{export::ExportOptions, fit::Fit, recipe::Recipe};
struct Net { classes: usize }
impl Module for Net {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let conv = |name: &str, i, o, stride| Conv2d { padding: 1, stride, ..Conv2d::new(name, i, o, 3) };
        let a = Attention { ratio: 4, kernel: 7 };
        let x = ops.relu(&ops.batch_norm(&ops.conv2d(x, &conv("stem.conv", 3, 16, 1))?, &BatchNorm2d::new("stem.norm", 16))?)?;
        let x = Cbam::new("attention1", 16, a).forward(ops, &x)?;
        let x = ops.relu(&ops.batch_norm(&ops.conv2d(&x, &conv("body.conv", 16, 32, 2))?, &BatchNorm2d::new("body.norm", 32))?)?;
        let x = Cbam::new("attention2", 32, a).forward(ops, &x)?;
        let pooled = ops.reduce(&x, Reduce::Mean, &[2, 3], false)?;
        ops.linear(&pooled, &Linear::new("head", 32, self.classes))
    }
}
fn main() -> Result<()> {
    let mut recipe = Recipe::load("from-scratch")?.scaled_to(30);
    recipe.batch_size = 16;
    recipe.phases.iter_mut().for_each(|phase| phase.learning_rate = 5e-3);
    let fit = Fit::new(recipe, 32);
    let fitted = fit.run(Path::new("DATA"), |classes| Net { classes }, |epoch| println!("{epoch}"))?;
    let export = |name: &str, options: ExportOptions| fitted.export(&Path::new("OUT").join(name), &options).map(|_| ());
    let plain = || ExportOptions::default();
    export("fp32.onnx", plain())?;
    export("fp16.onnx", ExportOptions { precision: Precision::Fp16, ..plain() })?;
    export("int8.onnx", ExportOptions { precision: Precision::Int8, ..plain() })?;
    export("uint8-attention.onnx", ExportOptions { input: InputForm::Uint8, observed: true, ..plain() })?;
    Ok(())
}
