//! Dependencies between the crates are those of ARCHITECTURE.md.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lists `package` and the crates that it is built from, a line each: `serde v1.0.229`.
fn tree(package: &str, more: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--prefix", "none", "--offline"])
        .args(more)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // `(*)` marks a crate that occurred before, `(proc-macro)` one that runs in the compiler.
    let mut crates: Vec<_> =
        text.lines().map(|line| line.split(" (").next().unwrap_or_default().to_owned()).collect();
    crates.sort();
    crates.dedup();
    crates
}

/// Names of the direct and indirect dependencies of `package`.
fn dependencies(package: &str) -> Vec<String> {
    let lines = tree(package, &["--edges", "normal,build"]);
    lines.iter().filter_map(|line| line.split(' ').next()).map(Into::into).collect()
}

#[test]
fn who_knows_which_engine() {
    let knows = |package: &str, engine: &str| dependencies(package).iter().any(|name| name == engine);
    for engine in ["tch", "torch-sys", "ort", "image"] {
        assert!(!knows("ferronnx-models", engine), "models knows {engine}");
    }
    for engine in ["tch", "torch-sys"] {
        assert!(!knows("ferronnx-infer", engine), "infer knows {engine}");
        assert!(!knows("xtask", engine), "xtask knows {engine}");
    }
    assert!(
        knows("ferronnx-infer", "ort")
            && knows("ferronnx-train", "tch")
            && knows("ferronnx-train", "ferronnx-infer")
    );
}

/// Each crate counts once, and those that run in the compiler count too.
#[test]
fn the_library_of_infer_is_small() {
    let crates = tree("ferronnx-infer", &["--edges", "normal", "--no-default-features"]);
    assert!(crates.len() <= 75, "{}: {crates:#?}", crates.len());
    let programs = ["anyhow", "clap", "csv", "comfy-table", "indicatif", "textwrap", "maud", "sysinfo"];
    let direct = tree("ferronnx-infer", &["--edges", "normal", "--no-default-features", "--depth", "1"]);
    for name in programs.iter().chain(&["colorous", "embedded-graphics"]) {
        assert!(!direct.iter().any(|line| line.starts_with(&format!("{name} "))), "{name}");
    }
}

/// Rust files below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { rust_files(&path) } else { vec![path] };
    entries
        .flat_map(below)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// Only two folders of the program `train` speak HTTP; its library knows folders and files.
#[test]
fn http_stays_in_the_program() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/src");
    let program = source.join("bin/train");
    let speaks = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        ["ureq", "hf_hub"].iter().any(|name| text.contains(name))
    };
    let speakers: Vec<_> = rust_files(&source).into_iter().filter(speaks).collect();
    let allowed = [program.join("fetch"), program.join("mlflow")];
    for folder in &allowed {
        assert!(speakers.iter().any(|path| path.starts_with(folder)), "{} speaks no HTTP", folder.display());
    }
    let others: Vec<_> =
        speakers.iter().filter(|path| !allowed.iter().any(|folder| path.starts_with(folder))).collect();
    assert!(others.is_empty(), "{others:?}");
}
