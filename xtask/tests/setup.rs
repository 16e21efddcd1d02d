//! Errors of `cargo xtask setup` on machines that lack something, without a network.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its machine has failed")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};
use tempfile::TempDir;
use zip::write::{SimpleFileOptions, ZipWriter};

/// A machine with an empty native folder and a PATH that has only the programs of the test.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        fs::create_dir(machine.0.path().join("bin")).unwrap();
        machine
    }

    fn native(&self) -> PathBuf {
        self.0.path().join("native")
    }

    /// Adds a program of this machine to the PATH.
    fn with(self, program: &str) -> Self {
        symlink(find(program), self.0.path().join("bin").join(program)).unwrap();
        self
    }

    /// Adds a shell script as a program to the PATH.
    fn with_script(self, program: &str, script: &str) -> Self {
        let path = self.0.path().join("bin").join(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn setup(&self) -> Command {
        let mut command = xtask(&self.native());
        command.env("PATH", self.0.path().join("bin"));
        command
    }
}

fn xtask(native: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("xtask"));
    command.arg("setup").env("FERRONNX_NATIVE_DIR", native);
    for name in ["LIBTORCH", "ORT_DYLIB_PATH", "CXX"] {
        command.env_remove(name);
    }
    command
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file()).unwrap()
}

/// Path of the Python interpreter itself; a launcher such as pyenv would need further programs.
fn python() -> PathBuf {
    let output =
        std::process::Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    PathBuf::from(String::from_utf8(output.unwrap().stdout).unwrap().trim())
}

/// Asserts exit code 1 and one line on standard error.
fn refused(command: &mut Command) -> Assert {
    command
        .assert()
        .code(1)
        .stderr(starts_with("error: ").and(predicate::function(|text: &str| text.lines().count() == 1)))
}

#[test]
fn a_missing_compiler_is_named_first() {
    let machine = Machine::new();
    refused(&mut machine.setup()).stderr(contains("apt-get install g++"));
    refused(machine.setup().env("CXX", "no-such-compiler -O2"))
        .stderr(contains("$CXX is `no-such-compiler -O2`"));
    assert!(!machine.native().exists());
}

#[test]
fn missing_python_is_named() {
    let machine = Machine::new().with("c++");
    refused(&mut machine.setup())
        .stderr(contains("python3: not found").and(contains("apt-get install python3-pip")));
    assert!(!machine.native().exists());
}

#[test]
fn missing_pip_is_named() {
    // With `-S`, Python sees no installed package.
    let script = format!("exec {} -I -S \"$@\"", python().display());
    let machine = Machine::new().with("c++").with_script("python3", &script);
    refused(&mut machine.setup())
        .stderr(contains("No module named pip").and(contains("apt-get install python3-pip")));
}

#[test]
fn no_network_is_one_line_and_left_overs_go() {
    let home = tempfile::tempdir().unwrap();
    let native = home.path().join("native");
    fs::create_dir_all(native.join(".partial-killed/downloads")).unwrap();
    let mut command = xtask(&native);
    // Nothing listens on port 9.
    command.env("PIP_INDEX_URL", "http://127.0.0.1:9/simple").env("PIP_FIND_LINKS", "");
    command.env("PIP_RETRIES", "0").env("PIP_CONFIG_FILE", "/dev/null").env("PIP_EXTRA_INDEX_URL", "");
    refused(&mut command)
        .stderr(contains("download torch==2.13.0").and(contains("Traceback").not()))
        .stderr(contains("no package index can be reached").and(contains("pip config list")));
    let left: Vec<_> = fs::read_dir(&native).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn a_wheel_with_another_digest_is_refused() {
    let home = tempfile::tempdir().unwrap();
    fake_torch(home.path());
    let native = home.path().join("native");
    let mut command = xtask(&native);
    command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", home.path());
    refused(&mut command)
        .stderr(contains("torch 2.13.0: wrong digest, file deleted: expected sha256 60fcdcb2"))
        .stderr(contains(", found "));
    assert!(!native.join("torch").exists());
}

/// Writes a wheel that pip accepts as torch.
fn fake_torch(folder: &Path) {
    let file = File::create(folder.join("torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl")).unwrap();
    let mut zip = ZipWriter::new(file);
    let tag = "cp311-cp311-manylinux_2_28_x86_64";
    for (name, text) in [
        ("METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n".to_owned()),
        ("WHEEL", format!("Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")),
        ("RECORD", String::new()),
    ] {
        zip.start_file(format!("torch-2.13.0.dist-info/{name}"), SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn libraries_of_the_user_are_taken_and_nothing_is_downloaded() {
    let machine = Machine::new().with("c++");
    let libtorch = machine.0.path().join("libtorch");
    let ort = machine.0.path().join("libonnxruntime.so");
    fs::create_dir_all(libtorch.join("lib")).unwrap();
    fs::write(libtorch.join("lib/libtorch.so"), "").unwrap();
    fs::write(&ort, "").unwrap();
    let mut command = machine.setup();
    command.env("LIBTORCH", &libtorch).env("ORT_DYLIB_PATH", &ort).assert().success().stdout(
        contains(format!("LIBTORCH is set, using {}", libtorch.display()))
            .and(contains(format!("ORT_DYLIB_PATH is set, using {}", ort.display())))
            .and(contains("nothing to do")),
    );
    assert!(!machine.native().exists());
}

#[test]
fn libraries_of_the_user_that_are_none_are_refused() {
    let machine = Machine::new();
    let nowhere = machine.0.path().join("nowhere");
    refused(machine.setup().env("LIBTORCH", &nowhere)).stderr(
        contains("LIBTORCH: ").and(contains("holds neither lib/libtorch_cpu.so nor lib/libtorch.so")),
    );
    refused(machine.setup().env("ORT_DYLIB_PATH", &nowhere)).stderr(contains("is no file"));
}

#[test]
fn the_libtorch_cargo_names_is_ours() {
    let machine = Machine::new();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".native/torch");
    let mut command = machine.setup();
    command.arg("--dry-run").env("LIBTORCH", ours);
    command.assert().success().stdout(contains("torch 2.13.0").and(contains("LIBTORCH").not()));
}

#[test]
fn a_dry_run_says_what_would_come_and_needs_nothing() {
    let machine = Machine::new();
    machine
        .setup()
        .arg("--dry-run")
        .assert()
        .success()
        .stdout(contains("torch 2.13.0").and(contains("onnxruntime 1.31.1")).and(contains("563.3 MB")));
    machine.setup().args(["--cuda", "--dry-run"]).assert().success().stdout(
        contains("onnxruntime-gpu 1.31.1")
            .and(contains("nvidia-cudnn-cu13 9.20.0.48"))
            .and(contains("nvidia-nccl-cu13 2.29.7"))
            .and(contains("2.78 GB"))
            .and(contains("nothing downloaded")),
    );
    assert!(!machine.native().exists());
}
