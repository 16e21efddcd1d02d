//! The arrows between the crates hold: ARCHITECTURE.md says which.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::process::Command;

/// Names of all crates that `package` is built from.
fn dependencies(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal,build", "--prefix", "none", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(Into::into).collect()
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
