//! Several ranks train as one process does: gradients, weights, losses, runs and their files.
//!
//! A test starts its ranks itself: it runs this program again, once a rank, with the name of a task in a variable.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;
#[path = "distributed/task.rs"]
mod task;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use ferronnx_models::{Weights, checkpoint};
use ferronnx_train::run::RunFolder;
use ndarray::ArrayD;

use self::common::{COLOURS, colours};
use self::task::{Case, TASK};

/// Runs a task in `size` processes, which write into `dir`; returns what each said on standard error.
fn ranks(task: &str, size: usize, dir: &Path) -> Vec<String> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = |rank: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "rank_process", "--nocapture"])
            .envs([(TASK, task), ("MASTER_ADDR", "127.0.0.1"), ("OMP_NUM_THREADS", "1")])
            .envs(
                [("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", size), ("MASTER_PORT", port.into())]
                    .map(|(name, number)| (name, number.to_string())),
            )
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let processes: Vec<_> = (0..size).map(start).collect();
    let ended = processes.into_iter().enumerate().map(|(rank, process)| {
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "rank {rank} of {task}: {said}");
        said
    });
    ended.collect()
}

/// A rank of another test; alone it does nothing.
#[test]
fn rank_process() {
    if let Ok(task) = std::env::var(TASK) {
        task::run(&task);
    }
}

fn difference(a: &Weights, b: &Weights) -> f32 {
    let largest = |a: &ArrayD<f32>, b: &ArrayD<f32>| (a - b).iter().fold(0.0, |max: f32, d| max.max(d.abs()));
    assert_eq!(a.len(), b.len());
    a.iter().fold(0.0, |max, (name, values)| max.max(largest(values, &b[name])))
}

fn largest(weights: &Weights) -> f32 {
    weights.values().flatten().fold(0.0, |max, value| max.max(value.abs()))
}

fn data(dir: &Path) {
    colours(&dir.join("colours"), "train", &COLOURS, 62);
    colours(&dir.join("colours"), "test", &COLOURS, 50);
}

#[test]
fn two_ranks_train_as_one_process_of_their_batches_together() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    ranks("cases", 2, dir.path());
    for case in Case::all() {
        let alone = case.train(dir.path(), None);
        for rank in 0..2 {
            let name = |what: &str| dir.path().join(format!("{}-{rank}.{what}", case.name));
            let weights = checkpoint::load(name("weights")).unwrap();
            let gradients = checkpoint::load(name("gradients")).unwrap();
            let losses: Vec<f64> = serde_json::from_slice(&fs::read(name("losses")).unwrap()).unwrap();
            let (off, most) = (difference(&gradients, &alone.gradients), largest(&alone.gradients));
            assert!(off <= 1e-6 * most, "gradients of {}, rank {rank}: {off} of {most}", case.name);
            let off = difference(&weights, &alone.weights);
            assert!(off <= 1e-4, "weights of {}, rank {rank}: {off}", case.name);
            assert_eq!(losses.len(), alone.losses.len());
            for (epoch, (loss, alone)) in losses.iter().zip(&alone.losses).enumerate() {
                assert!((loss - alone).abs() <= 1e-4, "loss of {}, epoch {epoch}: {loss} {alone}", case.name);
            }
            assert!(losses.last().unwrap() < &losses[0], "{} learns: {losses:?}", case.name);
        }
    }
}

#[test]
fn mixed_precision_of_two_ranks_is_as_exact_as_that_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    ranks("short", 2, dir.path());
    for case in Case::short(true) {
        let weights = [0, 1]
            .map(|rank| checkpoint::load(dir.path().join(format!("{}-{rank}.weights", case.name))).unwrap());
        assert!(
            weights[0] == weights[1],
            "{}: an overflow in one rank leaves out the step in both",
            case.name
        );
        let alone = case.train(dir.path(), None).weights;
        let precise = case.precise().train(dir.path(), None).weights;
        let [one, two] = [&alone, &weights[0]].map(|weights| difference(weights, &precise));
        assert!(one > 0.0 && two <= 2.0 * one, "off float32: {one} by one process, {two} by two ranks");
    }
}

#[test]
fn gradient_descent_in_double_is_that_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    ranks("double", 2, dir.path());
    let alone = task::descend(None, 0..16);
    for rank in 0..2 {
        let found: Vec<Vec<f64>> =
            serde_json::from_slice(&fs::read(dir.path().join(format!("double-{rank}"))).unwrap()).unwrap();
        for (index, (found, alone)) in found.iter().zip(&alone).enumerate() {
            let off = found.iter().zip(alone).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
            assert!(off <= 1e-10, "parameter {index}, rank {rank}: {off}");
        }
    }
}

/// Files of a run that do not depend on time.
const FILES: &[&str] = &[
    "best.safetensors",
    "last/weights.safetensors",
    "last/average.safetensors",
    "last/optimizer.safetensors",
    "predictions.csv",
    "result.json",
];

#[test]
fn two_ranks_read_shards_as_one_process_does() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    task::pack(dir.path());
    ranks("shards", 2, dir.path());
    let alone = Case::streamed().train(dir.path(), None);
    for rank in 0..2 {
        let name = |what: &str| dir.path().join(format!("streamed-{rank}.{what}"));
        let off = difference(&checkpoint::load(name("weights")).unwrap(), &alone.weights);
        assert!(off <= 1e-4, "rank {rank}: {off}");
        let losses: Vec<f64> = serde_json::from_slice(&fs::read(name("losses")).unwrap()).unwrap();
        assert!(losses.iter().zip(&alone.losses).all(|(a, b)| (a - b).abs() <= 1e-4), "{losses:?}");
        assert!(losses.last().unwrap() < &losses[0]);
    }
}

#[test]
fn a_run_of_two_ranks_on_shards_resumes_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    task::pack(dir.path());
    let path = |name: &str| dir.path().join(name);
    let said = ranks("run streamed-whole", 2, dir.path());
    let note = "images are read from shards in every epoch, and shuffled among 30 of them";
    assert!(said[0].contains(note), "{}", said[0]);
    let mut starts = 0;
    while !path("streamed-stopped/result.json").exists() {
        ranks("run streamed-stopped", 2, dir.path());
        starts += 1;
    }
    assert!(starts > 1, "it was stopped");
    let (whole, stopped) =
        (common::outcome(&path("streamed-whole"), FILES), common::outcome(&path("streamed-stopped"), FILES));
    for ((name, whole), (_, stopped)) in whole.iter().zip(stopped) {
        assert!(*whole == stopped, "{name} differs");
    }
}

#[test]
fn a_run_of_two_ranks_resumes_to_the_bit_and_evaluates_every_image_once() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let path = |name: &str| dir.path().join(name);
    let said = ranks("run whole", 2, dir.path());
    assert!(
        said[0].contains("2 ranks of 8 images: 32 an update of 2 steps; learning rates stay"),
        "{}",
        said[0]
    );
    assert!(said[0].contains("running statistics are averaged over the ranks"), "{}", said[0]);
    let mut starts = 0;
    while !path("stopped/result.json").exists() {
        ranks("run stopped", 2, dir.path());
        starts += 1;
    }
    assert!(starts > 1, "it was stopped");
    for ((name, whole), (_, stopped)) in
        common::outcome(&path("whole"), FILES).iter().zip(common::outcome(&path("stopped"), FILES))
    {
        assert!(*whole == stopped, "{name} differs");
    }
    let config = fs::read_to_string(path("whole/config.toml")).unwrap();
    assert!(config.contains("ranks = 2\n"), "{config}");

    // What is saved is what was evaluated: one process finds the same.
    let evaluation = task::evaluate_best(dir.path(), "whole");
    let result = RunFolder::open(path("whole")).unwrap().0.result().unwrap().unwrap();
    assert_eq!(result.test_accuracy, Some(evaluation.accuracy));
    let text = fs::read_to_string(path("whole/predictions.csv")).unwrap();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(lines.len(), 150, "each test image once");
    for (line, prediction) in lines.iter().zip(&evaluation.predictions) {
        let probability: f32 = line.rsplit(',').next().unwrap().parse().unwrap();
        assert!((probability - prediction.probability).abs() < 1e-6, "{line}: {prediction:?}");
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    ranks("run stopped", 2, dir.path());
    let said = task::resume_alone(dir.path(), "stopped");
    let note = "1 rank now, 2 ranks before: an update takes 16 images instead of 32";
    assert!(said.contains(note), "{said}");
    assert!(said.contains("; the epoch under way goes on after "), "{said}");
    assert!(dir.path().join("stopped/result.json").exists());
}

#[test]
fn images_that_cannot_be_decoded_keep_no_rank_waiting() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    for index in [0, 7, 8, 30] {
        fs::write(dir.path().join(format!("colours/train/red/{index:03}.png")), "no image").unwrap();
    }
    ranks("skip", 2, dir.path());
    let case = Case::skipping();
    let alone = case.train(dir.path(), None);
    assert_eq!(alone.skipped, [4, 4]);
    for rank in 0..2 {
        let name = |what: &str| dir.path().join(format!("skip-{rank}.{what}"));
        let weights = checkpoint::load(name("weights")).unwrap();
        let off = difference(&weights, &alone.weights);
        assert!(off <= 1e-4, "rank {rank}: {off}");
        assert_eq!(fs::read_to_string(name("skipped")).unwrap(), "[4,4]");
    }
}

#[test]
fn all_ranks_name_the_loss_of_one_that_is_not_finite() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    ranks("diverge", 2, dir.path());
    let said = [0, 1].map(|rank| fs::read_to_string(dir.path().join(format!("diverge-{rank}"))).unwrap());
    assert_eq!(said[0], said[1]);
    assert!(said[0].contains("step 2 (phase \"first\")") && said[0].contains(".png"), "{}", said[0]);
}

#[test]
fn a_world_of_one_is_the_plain_run_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    ranks("cases", 1, dir.path());
    ranks("short", 1, dir.path());
    // Synchronised batch norm is another kernel.
    for case in Case::all().into_iter().chain(Case::short(false)).filter(|case| !case.sync_bn) {
        let alone = case.train(dir.path(), None);
        let name = |what: &str| dir.path().join(format!("{}-0.{what}", case.name));
        assert!(checkpoint::load(name("weights")).unwrap() == alone.weights, "{}", case.name);
        assert_eq!(fs::read(name("losses")).unwrap(), serde_json::to_vec(&alone.losses).unwrap());
    }
}
