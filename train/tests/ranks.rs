//! Two processes that train together: how they meet, and how a fault of one ends both.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::ports::free_port;
use crate::common::{COLOURS, colour_set, colours};

/// Longest time until a fault has ended all ranks.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts `train fit` as a rank of two.
fn start(dir: &Path, rank: usize, port: u16, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_train"))
        .current_dir(dir)
        .args(["fit", "--out", "run", "--image-size", "8", "--batch-size", "8", "--device", "cpu"])
        .args(args)
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", "2")
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string())
        .env("OMP_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Starts both ranks, and waits until they have trained an epoch.
fn training(dir: &Path) -> [Child; 2] {
    let port = free_port();
    let ranks = [0, 1].map(|rank| start(dir, rank, port, &["--data", "colours", "--epochs", "5000"]));
    let begun = Instant::now();
    while !dir.join("run/metrics.jsonl").exists() {
        assert!(begun.elapsed() < 2 * LIMIT, "no epoch was completed");
        std::thread::sleep(Duration::from_millis(50));
    }
    ranks
}

fn signal(rank: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &rank.id().to_string()]).status().unwrap().success());
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ended(rank: Child) -> Output {
    rank.wait_with_output().unwrap()
}

#[test]
fn a_killed_rank_ends_the_other() {
    let (dir, _) = colour_set();
    let [first, mut second] = training(dir.path());
    let begun = Instant::now();
    second.kill().unwrap();
    let output = ended(first);
    assert!(begun.elapsed() < LIMIT);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(message.contains(&format!("process {}): its process is gone", second.id())), "{message}");
    assert!(message.starts_with("error: rank 1 (") && message.lines().count() == 1, "{message}");
    second.wait().unwrap();
}

#[test]
fn the_first_rank_is_killed() {
    let (dir, _) = colour_set();
    let [mut first, second] = training(dir.path());
    first.kill().unwrap();
    first.wait().unwrap();
    let output = ended(second);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: rank 0 ("), "{}", stderr(&output));
    let log = std::fs::read_to_string(dir.path().join("run/rank-1.log")).unwrap();
    assert!(log.contains("error: rank 0 ("), "{log}");
}

#[test]
fn a_stopped_rank_ends_both() {
    let (dir, _) = colour_set();
    let [first, second] = training(dir.path());
    let begun = Instant::now();
    signal(&second, "-STOP");
    let output = ended(first);
    assert!(begun.elapsed() < LIMIT);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(message.contains("gave no sign of life for 20 s") && message.contains("rank 1"), "{message}");
    // It cannot end itself.
    ended(second);
}

#[test]
fn ctrl_c_to_one_rank_saves_once_and_ends_both() {
    let (dir, _) = colour_set();
    let [first, second] = training(dir.path());
    signal(&second, "-INT");
    let outputs = [first, second].map(ended);
    for output in &outputs {
        assert_eq!(output.status.code(), Some(130), "{}", stderr(output));
    }
    let [first, second] = outputs.map(|output| String::from_utf8(output.stdout).unwrap());
    assert_eq!(first.matches("everything is saved in run").count(), 1, "{first}");
    assert_eq!(second, "");
}

#[test]
fn an_unreadable_image_of_one_rank_ends_both() {
    let (dir, data) = colour_set();
    let other = dir.path().join("other");
    for split in ["train", "test"] {
        colours(&other, split, &COLOURS, if split == "train" { 14 } else { 4 });
    }
    // The same size, so that only reading finds it.
    let image = other.join("train/red/003.png");
    let bytes = std::fs::metadata(data.join("train/red/003.png")).unwrap().len();
    std::fs::write(&image, vec![0; bytes as usize]).unwrap();
    let port = free_port();
    let ranks =
        [("colours", 0), ("other", 1)].map(|(data, rank)| start(dir.path(), rank, port, &["--data", data]));
    let [first, second] = ranks.map(ended);
    assert_eq!((first.status.code(), second.status.code()), (Some(2), Some(2)));
    let message = stderr(&first);
    assert!(message.starts_with("error: rank 1 (") && message.contains("003.png"), "{message}");
    assert_eq!(stderr(&second), "");
}

#[test]
fn different_data_and_settings_are_found_at_the_start() {
    let (dir, _) = colour_set();
    colours(&dir.path().join("fewer"), "", &COLOURS, 10);
    let faults = [
        (["--data", "fewer", "--seed", "42"], "the ranks have different data sets: rank 1 has 30 images"),
        (["--data", "colours", "--seed", "7"], "the ranks have different settings: rank 1 has"),
    ];
    for (args, expected) in faults {
        let port = free_port();
        let first = start(dir.path(), 0, port, &["--data", "colours"]);
        let second = start(dir.path(), 1, port, &args);
        let [first, second] = [first, second].map(ended);
        assert_eq!((first.status.code(), second.status.code()), (Some(2), Some(2)));
        assert!(stderr(&first).contains(expected), "{}", stderr(&first));
        assert_eq!(stderr(&second), "");
    }
}

#[test]
fn different_content_in_files_of_one_size_is_found() {
    let (dir, data) = colour_set();
    let other = dir.path().join("other");
    for split in ["train", "test"] {
        colours(&other, split, &COLOURS, if split == "train" { 14 } else { 4 });
    }
    // A valid image of the same size: one that is not compressed.
    let path = |root: &Path| root.join("train/red/003.bmp");
    for (root, level) in [(&data, 0), (&other, 1)] {
        std::fs::remove_file(root.join("train/red/003.png")).unwrap();
        image::RgbImage::from_pixel(8, 8, image::Rgb([180, 0, level])).save(path(root)).unwrap();
    }
    let port = free_port();
    let ranks =
        [("colours", 0), ("other", 1)].map(|(data, rank)| start(dir.path(), rank, port, &["--data", data]));
    let [first, second] = ranks.map(ended);
    assert_eq!((first.status.code(), second.status.code()), (Some(2), Some(2)));
    assert!(stderr(&first).contains("content of image files"), "{}", stderr(&first));
}

#[test]
fn a_port_in_use_and_a_rank_that_does_not_come() {
    let (dir, _) = colour_set();
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let args = ["--data", "colours", "--join-timeout", "2"];
    let output = ended(start(dir.path(), 0, taken.local_addr().unwrap().port(), &args));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("choose another port"), "{}", stderr(&output));
    let output = ended(start(dir.path(), 0, free_port(), &args));
    assert!(stderr(&output).contains("rank 1 of 2 did not come within 2 s"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--join-timeout"), "{}", stderr(&output));
    let output = ended(start(dir.path(), 1, free_port(), &args));
    assert!(stderr(&output).contains("cannot reach the first rank at 127.0.0.1:"), "{}", stderr(&output));
}

#[test]
fn several_processes_are_never_ignored() {
    let (dir, _) = colour_set();
    let output = ended(start(dir.path(), 0, 1, &["--data", "colours", "--distributed", "off"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("WORLD_SIZE is 2, but distributed training is off"));
    let find_lr = Command::new(env!("CARGO_BIN_EXE_train"))
        .current_dir(dir.path())
        .args(["find-lr", "--data", "colours"])
        .envs([("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")])
        .output()
        .unwrap();
    assert_eq!(find_lr.status.code(), Some(2));
    let message = stderr(&find_lr);
    assert!(message.contains("find-lr runs in one process, alone: torchrun started 2 of them"), "{message}");
    let output = ended(start(dir.path(), 2, 1, &["--data", "colours"]));
    assert!(stderr(&output).contains("RANK is 2, but WORLD_SIZE is 2"), "{}", stderr(&output));
    assert!(!dir.path().join("run").exists());
}
