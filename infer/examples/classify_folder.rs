//! Classifies all images in a folder: `cargo run --example classify_folder -- model.onnx photos`.
//!
//! The images are decoded on all cores while the network runs, and results come in order.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use ferronnx_infer::results::{Classified, Failed, Outcome};
use ferronnx_infer::session::Options;
use ferronnx_infer::{Classifier, files};

fn main() -> Result<(), Box<dyn Error>> {
    let [_, model, folder] = &std::env::args_os().collect::<Vec<_>>()[..] else {
        return Err("usage: classify_folder MODEL FOLDER".into());
    };
    run(model.as_ref(), folder.as_ref(), &mut io::stdout())
}

/// Prints the class of each image in `folder`, or why it has none.
pub fn run(model: &Path, folder: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    // Decoding wants the cores, so the network's idle threads must not spin.
    let options = Options::default().spinning(false);
    let classifier = Classifier::builder().options(options).top_k(1).batch(16).load(model)?;
    for outcome in classifier.classify_files(files::images_in(folder)?) {
        match outcome {
            Outcome::Classified(Classified { path, predictions, .. }) => {
                writeln!(out, "{}: {}", path.display(), predictions[0].label)?;
            }
            Outcome::Failed(Failed { path, error }) => {
                writeln!(out, "{}: {}", path.display(), error.reason())?;
            }
        }
    }
    Ok(())
}
