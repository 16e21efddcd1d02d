//! Classifies one image: `cargo run --example classify_image -- model.onnx cat.jpg`.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use ferronnx_infer::{Classifier, Device, decode};

fn main() -> Result<(), Box<dyn Error>> {
    let [_, model, image] = &std::env::args_os().collect::<Vec<_>>()[..] else {
        return Err("usage: classify_image MODEL IMAGE".into());
    };
    run(model.as_ref(), image.as_ref(), &mut io::stdout())
}

/// Prints the three most likely classes of `image`.
pub fn run(model: &Path, image: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let classifier = Classifier::builder().device(Device::Cpu).top_k(3).load(model)?;
    for guess in classifier.classify(&decode::file(image)?)? {
        writeln!(out, "{:6.2} % {}", 100.0 * guess.probability, guess.label)?;
    }
    Ok(())
}
