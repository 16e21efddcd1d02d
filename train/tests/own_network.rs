//! Users' own networks: the examples train, resume, export, verify and classify.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;
#[path = "../examples/convnext.rs"]
#[allow(dead_code, missing_docs)] // its `main` is for the command line
mod convnext;
#[path = "../examples/own_network.rs"]
#[allow(dead_code, missing_docs)] // its `main` is for the command line
mod own_network;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ferronnx_infer::verify::Verification;
use ferronnx_infer::{Classifier, decode};
use ferronnx_models::Module;
use ferronnx_models::card::{InputForm, Precision};
use ferronnx_models::onnx::Opset;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::error::chain;
use ferronnx_train::export::ExportOptions;
use ferronnx_train::fit::fit;
use ferronnx_train::recipe::Recipe;
use ferronnx_train::run::{EachEpoch, Observer, Outcome, Run, RunConfig, RunFolder, Step};
use ferronnx_train::trainer::Amp;

use self::common::colour_set;

#[test]
fn it_trains_exports_verifies_and_classifies() {
    let (dir, data) = colour_set();
    let model = dir.path().join("small.onnx");
    let out = dir.path().join("run");
    own_network::run(&data, &out, &model, &data.join("test/red/000.png")).unwrap();

    let classifier = Classifier::builder().top_k(1).load(&model).unwrap();
    let card = classifier.card().clone();
    assert_eq!(card.labels, ["blue", "green", "red"]);
    assert_eq!(card.observed, ["stage1.se.gate", "stage2.se.gate", "stage3.se.gate"]);
    assert_eq!(card.precision, Precision::Fp32);
    let mut right = 0;
    for label in &card.labels {
        for image in fs::read_dir(data.join("test").join(label)).unwrap() {
            let guesses = classifier.classify(&decode::file(image.unwrap().path()).unwrap()).unwrap();
            right += usize::from(guesses[0].label == *label);
        }
    }
    assert_eq!(right, 12, "colours are easy");
}

#[test]
fn every_form_of_it_holds() {
    let (dir, data) = colour_set();
    let model = dir.path().join("small.onnx");
    let recipe = Recipe::load("from-scratch").unwrap().scaled_to(6);
    let network = |classes| own_network::SmallNet { classes };
    let mut run = fit(dir.path().join("run"), &data, recipe, 32, network).unwrap();
    let mut epochs = 0;
    let _ = run.train(&mut EachEpoch::new(|epoch| epochs = epoch.metrics.epoch)).unwrap();
    assert_eq!(epochs, 6);
    holds_in_every_form(&run, &model, Opset::default());
}

/// Exports the run in every precision, to be verified.
fn holds_in_every_form<M: Module>(run: &Run<M>, model: &Path, opset: Opset) {
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        let input = InputForm::Uint8;
        run.export(model, &ExportOptions { precision, input, opset, ..ExportOptions::default() }).unwrap();
        let verification = Verification::of_file(model, &Default::default(), None).unwrap();
        assert_eq!(verification.failures(), [""; 0], "{precision}, opset {opset:?}");
    }
}

#[test]
fn a_convnext_trains_and_every_form_of_it_holds() {
    let (dir, data) = colour_set();
    let (model, out) = (dir.path().join("convnext.onnx"), dir.path().join("run"));
    convnext::run(&data, &out, &model, &data.join("test/red/000.png")).unwrap();
    for precision in ["fp32", "fp16", "int8"] {
        let file = model.with_extension(format!("{precision}.onnx"));
        let classifier = Classifier::builder().top_k(1).load(file).unwrap();
        for label in ["blue", "green", "red"] {
            let image = decode::file(data.join("test").join(label).join("000.png")).unwrap();
            assert_eq!(classifier.classify(&image).unwrap()[0].label, label, "{precision}");
        }
    }
    let recipe = Recipe::load("from-scratch").unwrap();
    let run = fit(&out, &data, recipe, 32, |classes| convnext::ConvNext { classes }).unwrap();
    for opset in [Opset::MIN, Opset::MAX] {
        holds_in_every_form(&run, &model, Opset::new(opset).unwrap());
    }
}

#[test]
fn too_few_images_and_a_network_that_does_not_fit_are_errors() {
    let (dir, data) = colour_set();
    let out = dir.path().join("run");
    let recipe = || Recipe::load("from-scratch").unwrap().scaled_to(1);
    let run = |data: &Path, size| {
        let run = fit(&out, data, recipe(), size, |classes| own_network::SmallNet { classes });
        chain(&run.map(|_| ()).unwrap_err())
    };
    let error = run(&data.join("none"), 32);
    assert!(error.contains("none"), "{error}");
    let attention = ferronnx_models::layers::ChannelAttention::new("attention", 64, 16);
    let error = fit(&out, &data, recipe(), 32, |_| attention).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("attention"), "{error}");
    let error = run(&data, 0);
    assert!(error.contains("a crop of 0"), "{error}");

    let few = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        fs::create_dir(few.path().join(class)).unwrap();
        fs::copy(data.join("test/red/000.png"), few.path().join(class).join("0.png")).unwrap();
    }
    assert_eq!(run(few.path(), 32), "2 training and 0 validation images are too few: add images");
    assert!(!out.exists(), "nothing was begun");
}

/// Variable with the example's arguments, one per line, for the process that runs it.
const ARGUMENTS: &str = "OWN_NETWORK_ARGUMENTS";

/// Runs the example in a process of its own, which [`a_kill_and_ctrl_c_change_nothing`] starts and stops.
///
/// Cargo tells tests the path of no example, and building it here would compile the workspace a second time.
#[test]
fn example_process() -> anyhow::Result<()> {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return Ok(()) };
    let paths: Vec<&Path> = arguments.lines().map(Path::new).collect();
    own_network::run(paths[0], paths[1], paths[2], paths[3])
}

/// Files of a run that do not depend on time.
const FILES: &[&str] = &[
    "best.safetensors",
    "last/weights.safetensors",
    "last/optimizer.safetensors",
    "predictions.csv",
    "result.json",
    "plan.json",
    "report.html",
];

fn same(whole: &Path, stopped: &Path) {
    for ((name, whole), (_, stopped)) in
        common::outcome(whole, FILES).iter().zip(common::outcome(stopped, FILES))
    {
        assert!(*whole == stopped, "{name} differs");
    }
}

#[cfg(unix)]
#[test]
fn a_kill_and_ctrl_c_change_nothing() {
    let (dir, _) = colour_set();
    // Enough images to be stopped among.
    common::colours(&dir.path().join("colours"), "train", &common::COLOURS, 60);
    let start = |out: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.current_dir(dir.path()).args(["example_process", "--exact", "--nocapture"]);
        command.env(ARGUMENTS, ["colours", out, "model.onnx", "colours/test/red/000.png"].join("\n"));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    assert!(start("whole").wait().unwrap().success());
    // Stopped once an epoch is complete, somewhere in the next.
    let stop = |epochs: usize, signal: &str| {
        let child = start("stopped");
        let lines = || fs::read_to_string(dir.path().join("stopped/metrics.jsonl")).unwrap_or_default();
        let deadline = Instant::now() + Duration::from_secs(120);
        while lines().lines().count() < epochs {
            assert!(Instant::now() < deadline, "epoch {epochs} was not completed");
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(Duration::from_millis(30));
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success(), "the run had ended before {signal}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(stop(1, "-KILL"), "");
    assert!(stop(3, "-INT").contains("interrupted: the same command resumes the run"));
    assert!(start("stopped").wait().unwrap().success());
    same(&dir.path().join("whole"), &dir.path().join("stopped"));
}

/// Breaks off after some steps.
struct StopAfter(usize);

impl Observer for StopAfter {
    fn step(&mut self, _: &Step) -> ControlFlow<()> {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn it_has_all_that_train_fit_has() {
    let (dir, data) = colour_set();
    let create = |out: &str| {
        let data = ImageFolder::scan(&data).unwrap();
        let mut recipe = Recipe::load("from-scratch").unwrap().scaled_to(8);
        (recipe.batch_size, recipe.early_stopping, recipe.ema) = (8, Some(1), Some(0.5));
        // Too small to change a float: the validation loss stays.
        recipe.phases[0].learning_rate = 1e-30;
        let config = RunConfig { seed: 3, amp: Some(Amp::Bf16), ..RunConfig::new(&data, recipe, 16) };
        Run::create(dir.path().join(out), data, config, own_network::SmallNet { classes: 3 }).unwrap()
    };
    let mut whole = create("whole");
    let Outcome::Finished(result) = whole.train(&mut ()).unwrap() else { panic!("nobody interrupts") };
    assert!(result.test_accuracy.is_some());
    let metrics = whole.folder().metrics().unwrap();
    let first = metrics.iter().filter(|epoch| epoch.phase == "learn").count();
    assert!(first < 5, "the first phase ends early, after {first} epochs");
    let predictions = fs::read_to_string(whole.folder().path("predictions.csv")).unwrap();
    assert_eq!(predictions.lines().count(), 1 + 12);
    let page = fs::read_to_string(whole.folder().path("report.html")).unwrap();
    assert!(page.contains("Test accuracy") && page.contains("Confusion"), "{page}");
    let events = fs::read_dir(whole.folder().path("")).unwrap().filter(|file| {
        file.as_ref().unwrap().file_name().to_string_lossy().starts_with("events.out.tfevents.")
    });
    assert_eq!(events.count(), 1);
    // Nothing is left to do.
    assert_eq!(whole.train(&mut ()).unwrap(), Outcome::Finished(result));

    let mut run = create("stopped");
    let mut interruptions = 0;
    while let Outcome::Interrupted { epoch } = run.train(&mut StopAfter(7)).unwrap() {
        assert!(epoch.is_some());
        interruptions += 1;
        let (folder, config) = RunFolder::open(dir.path().join("stopped")).unwrap();
        run = Run::resume(folder, config, own_network::SmallNet { classes: 3 }).unwrap();
    }
    assert!(interruptions > 2, "{interruptions}");
    same(&dir.path().join("whole"), &dir.path().join("stopped"));
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error() {
    let (dir, data) = colour_set();
    let create = |train: &str| {
        let data = ImageFolder::scan(&data).unwrap();
        let mut recipe = Recipe::load("from-scratch").unwrap();
        recipe.phases[1].train = vec![train.into()];
        let config = RunConfig::new(&data, recipe, 32);
        let network = own_network::SmallNet { classes: 3 };
        chain(&Run::create(dir.path().join("run"), data, config, network).map(|_| ()).unwrap_err())
    };
    let error = create("haed.*");
    for part in ["phase \"settle\"", "\"haed.*\" matches no parameter", "stem.weight", "@all"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = create("@head");
    assert!(error.contains("phase \"settle\": the network declares no role \"@head\""), "{error}");
    assert!(create("@haed").contains("there is no role \"@haed\": use @stem"));
}

/// The example is as short as the guide promises.
#[test]
fn it_is_short() {
    let code = include_str!("../examples/own_network.rs").lines().map(str::trim);
    let counts = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let lines = code.filter(counts).count();
    assert!(lines < 60, "{lines} lines");
}
