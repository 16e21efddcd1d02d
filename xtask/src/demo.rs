//! `cargo xtask demo`: trains on handwritten digits, exports, verifies, classifies, evaluates, explains and serves.
//!
//! It prints each command of `train` and `infer` before running it, so that the output can be followed by hand.

mod answers;
pub mod digits;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::answers::Answer;
use crate::setup;
use crate::steps::Steps;
use crate::workspace::{self, cargo, executable, short, show};

const DATA: &str = "demo/data";
const RUN: &str = "demo/run";
const MODEL: &str = "demo/model.onnx";
const REPORT: &str = "demo/report.html";
const RIGHT: &str = "demo/right.png";
const WRONG: &str = "demo/wrong.png";

/// Least accuracy of a working installation, in percent; the digits are easy to learn.
const PERCENT_NEEDED: f64 = 95.0;

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask demo                    takes 10 minutes on 2 cores, most of it compiling; a few when repeated
  cargo xtask demo --serve            ends with a server and its page at http://127.0.0.1:8000/")]
pub struct DemoArgs {
    /// At the end, serve the model to browsers and programs until Ctrl-C
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "127.0.0.1:8000")]
    serve: Option<String>,
}

/// Runs `cargo xtask demo`.
pub fn run(args: &DemoArgs) -> Result<()> {
    let mut steps = Steps::new(9 + usize::from(args.serve.is_some()));
    steps.run("setup", setup::ensure)?;
    steps.run("digits", || digits::bring(&workspace::root().join("demo")))?;
    let binaries = steps.run("build", build)?;
    steps.run("train", || train(&binaries.train))?;
    let outputs = ["--explain-outputs", "--attention-outputs"];
    steps
        .run("export", || shown(&binaries.train, &[&["export", RUN, "-o", MODEL][..], &outputs].concat()))?;
    steps.run("verify", || shown(&binaries.infer, &["verify", "--model", MODEL]))?;
    let answers = steps.run("classify", || classify(&binaries.infer))?;
    let evaluate = ["evaluate", "--model", MODEL, "--data", DATA, "--report", REPORT];
    steps.run("evaluate", || shown(&binaries.infer, &evaluate))?;
    steps.run("explain", || explain(&binaries.train, &answers))?;
    farewell(&steps, &binaries);
    args.serve.as_deref().map_or(Ok(()), |address| steps.run("serve", || serve(&binaries.infer, address)))
}

struct Binaries {
    train: PathBuf,
    infer: PathBuf,
}

fn build() -> Result<Binaries> {
    println!("the first build takes some minutes, one of them for the C++ code of torch-sys");
    // Without --release: the tests take what is built, and since libtorch and ONNX Runtime compute, it is hardly slower.
    // The target folder can be configured in many ways, so cargo is asked for the paths.
    let messages = workspace::output(&mut cargo(&[
        "build",
        "--package=ferronnx-train",
        "--package=ferronnx-infer",
        "--message-format=json-render-diagnostics",
    ]))?;
    Ok(Binaries { train: executable(&messages, "train")?, infer: executable(&messages, "infer")? })
}

fn train(train: &Path) -> Result<()> {
    let old = workspace::root().join(RUN);
    if old.exists() {
        fs::remove_dir_all(&old).with_context(|| format!("cannot replace {RUN}"))?;
    }
    let recipe = ["--recipe", "xtask/demo.toml", "--image-size", "16", "--seed", "7"];
    shown(train, &[&["fit", "--data", DATA, "--out", RUN][..], &recipe].concat())
}

fn classify(infer: &Path) -> Result<Vec<Answer>> {
    let tests = format!("{DATA}/test");
    let mut command = program(infer, &["classify", "--model", MODEL, "--format", "jsonl", &tests]);
    println!("$ {}", show(&command));
    let answers = answers::read(&workspace::output(&mut command)?)?;

    let right = 100.0 * answers::accuracy(&answers);
    println!("{right:.1} % of {} unseen images right", answers.len());
    if right < PERCENT_NEEDED {
        bail!("`{}`: {right:.1} % right, expected at least {PERCENT_NEEDED} %", show(&command));
    }
    for (heading, images) in [
        ("Some it got right:", answers::some_right(&answers, 4)),
        ("Where it was wrong:", answers::wrong(&answers, 8)),
    ] {
        if !images.is_empty() {
            println!("\n{heading}");
            shown(infer, &[&["classify", "--model", MODEL, "--top-k", "3"], &images[..]].concat())?;
        }
    }
    Ok(answers)
}

/// Draws an image that was right, and one that was wrong, beside a map of what spoke for the class.
fn explain(train: &Path, answers: &[Answer]) -> Result<()> {
    for (images, drawing) in [(answers::some_right(answers, 9), RIGHT), (answers::wrong(answers, 1), WRONG)] {
        if let Some(image) = images.last() {
            // The last maps of digits have four places only: gradients at an earlier layer show more.
            shown(train, &["explain", RUN, image, "--layer", "@stages:2", "-o", drawing])?;
        }
    }
    Ok(())
}

/// Turns this process into the server, so that Ctrl-C reaches it alone and its exit code is the last word.
fn serve(infer: &Path, address: &str) -> Result<()> {
    println!("Open http://{address}/ in a browser; Ctrl-C ends the server.");
    let mut command = program(infer, &["serve", MODEL, "--listen", address]);
    println!("$ {}", show(&command));
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", show(&command)))
}

fn farewell(steps: &Steps, Binaries { train, infer }: &Binaries) {
    let (train, infer) = (short(train), short(infer));
    println!(
        "\nDone in {}. Files:\n  \
           {DATA}             images, a folder for each class\n  \
           {RUN}/report.html  how training went; beside it metrics and weights\n  \
           {REPORT}      how good the model is: open it in a browser\n  \
           {RIGHT}        what in an image spoke for its class; {WRONG}: for a wrong one\n  \
           {MODEL}       the model, the only file that you deploy\n\n\
         Type next:\n  \
           {infer} serve {MODEL}     then open http://127.0.0.1:8000/\n  \
           {train} fit --data YOUR_PHOTOS --out runs/mine\n  \
           {train} export runs/mine -o mine.onnx\n\
         For daily use, `cargo build --release` makes faster programs in target/release.",
        steps.elapsed()
    );
}

fn program(binary: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(args).current_dir(workspace::root());
    command
}

fn shown(binary: &Path, args: &[&str]) -> Result<()> {
    let mut command = program(binary, args);
    println!("$ {}", show(&command));
    workspace::run(&mut command)
}
