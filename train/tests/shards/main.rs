//! Runs on shards: the weights of a run on the same files, and errors of shards in the middle of training.
//!
//! Parquet files and stores need the feature `cloud`.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "cloud")]
mod parquet;
#[cfg(feature = "cloud")]
mod stores;
#[allow(dead_code)] // other tests use more of it
#[path = "../distributed/task.rs"]
mod task;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ferronnx_train::error::chain;
use ferronnx_train::run::{Observer, Outcome, RunError, Step};
use ferronnx_train::trainer::Epoch;

use self::common::{COLOURS, colours};

fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    colours(&dir.path().join("colours"), "train", &COLOURS, 40);
    colours(&dir.path().join("colours"), "test", &COLOURS, 20);
    task::pack(dir.path());
    dir
}

/// Weights, metrics and result of a run that has ended.
fn outcome(run: &Path) -> Vec<(&'static str, Vec<u8>)> {
    common::outcome(run, &["best.safetensors", "last/weights.safetensors", "result.json"])
}

/// Checks that a run on shards that fit into memory is the one on their files, with predictions.
fn is_the_run_on_files(dir: &Path, name: &str) {
    for name in ["files", name] {
        assert!(matches!(task::begun(dir, name).train(&mut ()).unwrap(), Outcome::Finished(_)));
    }
    assert!(outcome(&dir.join("files")) == outcome(&dir.join(name)));
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(dir.join(name).join("predictions.csv")).unwrap();
        text.lines().skip(1).map(|line| line.split_once(',').unwrap().1.to_owned()).collect()
    };
    assert_eq!(lines("files"), lines(name));
}

#[test]
fn a_run_on_shards_that_fit_into_memory_is_that_on_their_files() {
    let dir = data();
    is_the_run_on_files(dir.path(), "packed");
    let images = fs::read_to_string(dir.path().join("packed/images.csv")).unwrap();
    assert!(images.contains("train-000.tar#blue/000.png,train,blue,"), "{images}");
}

/// Stops after some steps, and cuts a shard off after the first epoch.
struct Disturbs {
    steps: usize,
    cut: Option<PathBuf>,
}

impl Observer for Disturbs {
    fn step(&mut self, _: &Step) -> ControlFlow<()> {
        self.steps = self.steps.saturating_sub(1);
        if self.steps == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn epoch(&mut self, _: &Epoch) -> Result<(), RunError> {
        if let Some(shard) = self.cut.take() {
            let bytes = fs::read(&shard).unwrap();
            fs::write(&shard, &bytes[..bytes.len() / 2]).unwrap();
        }
        Ok(())
    }
}

/// Checks that a streamed run ends with the same bits after stops within its epochs, and after `shard` was cut off in its
/// middle and brought back, which `said` tells.
fn resumes_to_the_bit(dir: &Path, name: &str, shard: &str, said: &str) {
    let (stopped, cut) = (format!("{name}-stopped"), format!("{name}-cut"));
    assert!(matches!(task::begun(dir, name).train(&mut ()).unwrap(), Outcome::Finished(_)));

    let mut starts = 0;
    while !dir.join(&stopped).join("result.json").exists() {
        let _ = task::begun(dir, &stopped).train(&mut Disturbs { steps: 5, cut: None }).unwrap();
        starts += 1;
    }
    assert!(starts > 3, "it was stopped within epochs");
    assert!(outcome(&dir.join(name)) == outcome(&dir.join(stopped)));

    let path = dir.join(shard);
    let whole = fs::read(&path).unwrap();
    let mut disturbs = Disturbs { steps: usize::MAX, cut: Some(path.clone()) };
    let error = chain(&task::begun(dir, &cut).train(&mut disturbs).unwrap_err());
    assert!(error.contains(shard) && error.contains(said), "{error}");
    let again = chain(&task::begun(dir, &cut).train(&mut ()).unwrap_err());
    assert!(again.contains(shard), "{again}");
    fs::write(&path, whole).unwrap();
    let _ = task::begun(dir, &cut).train(&mut ()).unwrap();
    assert!(outcome(&dir.join(name)) == outcome(&dir.join(cut)));
}

#[test]
fn a_streamed_run_resumes_to_the_bit_after_a_stop_and_after_a_shard_that_was_cut_off() {
    resumes_to_the_bit(data().path(), "streamed", "shards/train-001.tar", "cut off");
}

#[test]
fn a_run_is_not_resumed_with_other_shards() {
    let dir = data();
    let _ = task::begun(dir.path(), "streamed").train(&mut Disturbs { steps: 3, cut: None }).unwrap();
    fs::remove_file(dir.path().join("shards/train-002.tar")).unwrap();
    let error = chain(&task::begun(dir.path(), "streamed").train(&mut ()).unwrap_err());
    assert!(error.contains("20 gone (train-002.tar#red/020.png,"), "{error}");
}
