//! Shares one classifier between threads, as a server would:
//! `cargo run --example share_between_threads -- model.onnx a.jpg b.jpg`.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use ferronnx_infer::{Classifier, decode};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let model = args.next().ok_or("usage: share_between_threads MODEL IMAGE...")?;
    run(&model, &args.collect::<Vec<_>>(), &mut io::stdout())
}

/// Prints the class of each of `images`; each is decoded and classified on a thread of its own.
pub fn run(model: &Path, images: &[PathBuf], out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let classifier = &Classifier::from_file(model)?;
    let labels = thread::scope(|scope| {
        let classify = |image| {
            scope.spawn(move || -> ferronnx_infer::Result<String> {
                Ok(classifier.classify(&decode::file(image)?)?.swap_remove(0).label)
            })
        };
        let threads: Vec<_> = images.iter().map(classify).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    for (image, label) in images.iter().zip(labels) {
        writeln!(out, "{}: {}", image.display(), label?)?;
    }
    Ok(())
}
