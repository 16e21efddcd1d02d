//! A layer of your own, written once: its shapes, its export to an ONNX file, and the file read back.
//!
//! `cargo run -p ferronnx-models --example layer -- layer.onnx`

use std::error::Error;
use std::path::{Path, PathBuf};

use ferronnx_models::layers::{BatchNorm2d, Conv2d};
use ferronnx_models::onnx::{self, Interface, Model, Opset, Summary, passes};
use ferronnx_models::{Module, Ops, shapes, testing};

/// A convolution with a shortcut around it. `[N, C, H, W]` -> `[N, C, H, W]`.
struct Residual {
    conv: Conv2d,
    norm: BatchNorm2d,
}

impl Residual {
    fn new(name: &str, channels: usize) -> Self {
        let conv = Conv2d { padding: 1, ..Conv2d::new(format!("{name}.conv"), channels, channels, 3) };
        Self { conv, norm: BatchNorm2d::new(format!("{name}.norm"), channels) }
    }
}

impl Module for Residual {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let y = ops.batch_norm(&ops.conv2d(x, &self.conv)?, &self.norm)?;
        ops.relu(&ops.add(&y, x)?)
    }
}

/// Writes the layer to `path` and returns what is in the file.
pub fn run(path: &Path) -> Result<Summary, Box<dyn Error>> {
    let layer = Residual::new("block", 8);
    let described = shapes::describe(&layer, &[1, 8, 16, 16])?;
    println!("gives {:?}, has {} parameters", described.output, described.params.len());

    // Weights by a formula; training gives better ones.
    let weights = testing::weights(&layer, &[1, 8, 16, 16])?;
    let mut model = onnx::trace(&layer, &weights, &Interface::new([8, 16, 16]), Opset::default())?;
    passes::fold_batch_norm(&mut model);
    std::fs::write(path, onnx::encode(model, &[("author", "me")]))?;

    let model = Model::decode(std::fs::read(path)?)?;
    for node in &model.graph.nodes {
        println!("{}: {} -> {}", node.op, node.inputs.join(", "), node.outputs.join(", "));
    }
    let kernel = model.graph.initializers["block.conv.weight"].to_array::<f32>()?;
    println!("the first weight is {}", kernel[[0, 0, 0, 0]]);
    Ok(Summary::of_model(&model))
}

#[allow(dead_code)] // the test calls `run`
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map_or_else(|| "layer.onnx".into(), PathBuf::from);
    run(&path).map(|_| ())
}
