//! Tests of places against a server that fails in many ways: web addresses, and S3 with the variables of its own tools.
//!
//! The variables belong to a process, so that each test of S3 runs in one of its own: the test starts itself again.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod server;
mod stores;
mod web;

use std::env;
use std::process::Command;

use ferronnx_infer::places::{Content, Item, Options, Place, items, units};

/// Reads everything in `inputs`.
fn read(inputs: &[&str]) -> Vec<Item> {
    let options = Options::default();
    let inputs = inputs.iter().map(|input| Place::parse(input).unwrap()).collect();
    let units: Vec<_> = units(inputs, &options).collect::<Result<_, _>>().unwrap();
    items(units.into_iter(), &options).collect()
}

/// Content of an item, or its error.
fn bytes(item: Item) -> Result<Vec<u8>, String> {
    match item.content {
        Ok(Content::Bytes(bytes)) => Ok(bytes),
        Ok(Content::File(path)) => Ok(std::fs::read(path).unwrap()),
        Err(error) => Err(ferronnx_infer::error::chain(&error)),
    }
}

/// Some bytes that differ from each other.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * index / 7 + index) as u8).collect()
}

/// Variable of the processes that the tests start.
const MARK: &str = "FERRONNX_TEST_CHILD";

/// Tells whether this process was started by a test.
fn is_own_process() -> bool {
    env::var_os(MARK).is_some()
}

/// Runs the test `name` of this file again in a process with other variables.
fn in_own_process(name: &str, variables: &[(&str, &str)]) {
    let clouds = ["AWS_", "AZURE_", "GOOGLE_"];
    let is_cloud = |name: &str| clouds.iter().any(|prefix| name.starts_with(prefix));
    let others = env::vars_os().filter(|(name, _)| is_cloud(&name.to_string_lossy()));
    let mut command = Command::new(env::current_exe().unwrap());
    for (name, _) in others {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").env(MARK, "1").envs(variables.iter().copied());
    let output = command.args(["--exact", name, "--nocapture"]).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
