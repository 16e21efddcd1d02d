//! `train fit` with data and weights fetched by name.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "common/cifar.rs"]
#[allow(dead_code)] // other tests use more of it
mod cifar;
#[path = "common/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use server::{Reply, Server};

/// Size of the official archive, in bytes.
const BYTES: u64 = 170_052_171;

/// Starts a fit in `dir`, with the cache there and this server in place of CIFAR-10's.
fn fit(dir: &Path, url: &str) -> Process {
    let mut command = Process::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(dir).env("FERRONNX_CACHE", dir.join("cache")).env("FERRONNX_CIFAR10_URL", url);
    command.env("NO_PROXY", "127.0.0.1").args([
        "fit",
        "--device",
        "cpu",
        "--epochs",
        "1",
        "--image-size",
        "8",
    ]);
    command
}

#[test]
fn cifar10_from_a_file_trains_without_a_network_and_is_unpacked_once() {
    let dir = tempfile::tempdir().unwrap();
    cifar::archive(&dir.path().join("cifar.tar.gz"), &cifar::files());
    let fit = |out: &str| {
        let mut command = Command::from_std(fit(dir.path(), &server::closed_url()));
        command.args(["--data", "cifar10:cifar.tar.gz", "--out", out]).assert().success().stderr(is_empty())
    };
    fit("one").stdout(contains("unpacking cifar.tar.gz").and(contains("of 12 images")));
    fit("two").stdout(contains("unpacking").not());
}

#[test]
fn a_mirror_with_another_content_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::serving(b"not CIFAR-10".to_vec());
    let mut command = Command::from_std(fit(dir.path(), &server.url("/mirror.tar.gz")));
    command.args(["--data", "cifar10", "--out", "run"]).assert().code(2).stderr(contains(
        "mirror.tar.gz: it has 12 bytes, not 170052171: another file: give --data cifar10:PATH",
    ));
    assert!(!dir.path().join("cache/cifar10").exists() && !dir.path().join("run").exists());
}

#[test]
fn the_same_word_means_a_folder_of_that_name_where_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("cifar10")).unwrap();
    let mut command = Command::from_std(fit(dir.path(), &server::closed_url()));
    command.args(["--data", "cifar10"]).assert().code(2).stderr(contains("cifar10 has no class folders"));
}

#[cfg(unix)]
#[test]
fn an_ended_download_leaves_its_part_and_the_next_run_goes_on_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|request, _| match request.range {
        None => Reply::of(&[7; 50_000], None).stalled(BYTES),
        Some(_) => Reply::status(403),
    });
    let mut first = fit(dir.path(), &server.url("/x"));
    let mut child = first.args(["--data", "cifar10"]).stdout(Stdio::null()).spawn().unwrap();
    let part = dir.path().join("cache/cifar-10-binary.tar.gz.part");
    let deadline = Instant::now() + Duration::from_secs(60);
    while part.metadata().map_or(0, |part| part.len()) < 50_000 {
        assert!(Instant::now() < deadline, "nothing was downloaded");
        std::thread::sleep(Duration::from_millis(20));
    }
    // As Ctrl-C, but not ignored by what runs in a shell's background.
    assert!(Process::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(!child.wait().unwrap().success());
    assert_eq!(fs::read(&part).unwrap(), [7; 50_000]);

    let mut command = Command::from_std(fit(dir.path(), &server.url("/x")));
    command.args(["--data", "cifar10"]).assert().code(2).stderr(contains("the server answers 403"));
    assert_eq!(server.ranges(), [None, Some(50_000)]);
}

#[test]
fn imagenet_comes_from_the_hub_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    cifar::archive(&dir.path().join("cifar.tar.gz"), &cifar::files());
    let server = Server::start(|_, _| Reply::status(404));
    let mut command = Command::from_std(fit(dir.path(), &server::closed_url()));
    command.env("HF_ENDPOINT", server.url("")).env("HF_HOME", dir.path().join("hub"));
    command.args(["--data", "cifar10:cifar.tar.gz", "--pretrained", "imagenet", "--out", "run"]);
    let way_out = contains("give --pretrained FILE").and(contains("the server answers 404"));
    command.assert().code(2).stderr(way_out);
    assert_eq!(server.paths(), ["/timm/resnet18.tv_in1k/resolve/main/model.safetensors"]);
}
