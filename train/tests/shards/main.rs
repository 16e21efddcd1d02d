//! Runs on tar shards: the weights of a run on the same files, and errors of shards in the middle of training.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;
#[allow(dead_code)] // other tests use more of it
#[path = "distributed/task.rs"]
mod task;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ferronnx_train::error::chain;
use ferronnx_train::run::{Observer, Outcome, RunError, RunFolder, Step};
use ferronnx_train::trainer::Epoch;

use self::common::{COLOURS, colours};

fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    colours(&dir.path().join("colours"), "train", &COLOURS, 40);
    colours(&dir.path().join("colours"), "test", &COLOURS, 20);
    task::pack(dir.path());
    dir
}

/// Weights, metrics and predictions of a run that has ended.
fn outcome(run: &Path) -> [Vec<u8>; 4] {
    let mut metrics = RunFolder::open(run).unwrap().0.metrics().unwrap();
    metrics.iter_mut().for_each(|epoch| (epoch.seconds, epoch.images_per_second) = (0.0, 0.0));
    let read = |name: &str| fs::read(run.join(name)).unwrap();
    let metrics = serde_json::to_vec(&metrics).unwrap();
    [read("best.safetensors"), read("last/weights.safetensors"), read("result.json"), metrics]
}

#[test]
fn a_run_on_shards_that_fit_into_memory_is_that_on_their_files() {
    let dir = data();
    for name in ["files", "packed"] {
        assert!(matches!(task::begun(dir.path(), name).train(&mut ()).unwrap(), Outcome::Finished(_)));
    }
    assert!(outcome(&dir.path().join("files")) == outcome(&dir.path().join("packed")));
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(dir.path().join(name).join("predictions.csv")).unwrap();
        text.lines().skip(1).map(|line| line.split_once(',').unwrap().1.to_owned()).collect()
    };
    assert_eq!(lines("files"), lines("packed"));
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

#[test]
fn a_streamed_run_resumes_to_the_bit_after_a_stop_and_after_a_shard_that_was_cut_off() {
    let dir = data();
    let path = |name: &str| dir.path().join(name);
    assert!(matches!(task::begun(dir.path(), "streamed").train(&mut ()).unwrap(), Outcome::Finished(_)));

    let mut starts = 0;
    while !path("streamed-stopped/result.json").exists() {
        let _ =
            task::begun(dir.path(), "streamed-stopped").train(&mut Disturbs { steps: 5, cut: None }).unwrap();
        starts += 1;
    }
    assert!(starts > 3, "it was stopped within epochs");
    assert!(outcome(&path("streamed")) == outcome(&path("streamed-stopped")));

    let shard = path("shards/train-001.tar");
    let whole = fs::read(&shard).unwrap();
    let mut disturbs = Disturbs { steps: usize::MAX, cut: Some(shard.clone()) };
    let error = chain(&task::begun(dir.path(), "streamed-cut").train(&mut disturbs).unwrap_err());
    assert!(error.contains("train-001.tar") && error.contains("cut off"), "{error}");
    let again = chain(&task::begun(dir.path(), "streamed-cut").train(&mut ()).unwrap_err());
    assert!(again.contains("train-001.tar"), "{again}");
    fs::write(&shard, whole).unwrap();
    let _ = task::begun(dir.path(), "streamed-cut").train(&mut ()).unwrap();
    assert!(outcome(&path("streamed")) == outcome(&path("streamed-cut")));
}

#[test]
fn a_run_is_not_resumed_with_other_shards() {
    let dir = data();
    let _ = task::begun(dir.path(), "streamed").train(&mut Disturbs { steps: 3, cut: None }).unwrap();
    fs::remove_file(dir.path().join("shards/train-002.tar")).unwrap();
    let error = chain(&task::begun(dir.path(), "streamed").train(&mut ()).unwrap_err());
    assert!(error.contains("20 gone (train-002.tar#red/020.png,"), "{error}");
}
