//! Libraries that the user provides through `LIBTORCH` and `ORT_DYLIB_PATH`, which take precedence over ours.

use std::env;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::workspace;

/// The user's libtorch; `None` when `LIBTORCH` is not set.
///
/// # Errors
/// When `LIBTORCH` is no folder of libtorch.
pub fn libtorch(native: &Path) -> Result<Option<PathBuf>> {
    let Some(folder) = variable("LIBTORCH") else { return Ok(None) };
    // `.cargo/config.toml` sets the variable to our own folder for everything that cargo runs.
    if [workspace::root().join(".native/torch"), native.join("torch")].iter().any(|ours| same(ours, &folder))
    {
        return Ok(None);
    }
    let names = ["torch_cpu", "torch"].map(|name| format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
    if !names.iter().any(|name| folder.join("lib").join(name).is_file()) {
        bail!(
            "LIBTORCH: {} holds neither lib/{} nor lib/{}: correct it, or unset it to have libtorch downloaded",
            folder.display(),
            names[0],
            names[1]
        );
    }
    Ok(Some(folder))
}

/// The user's ONNX Runtime; `None` when `ORT_DYLIB_PATH` is not set.
///
/// # Errors
/// When `ORT_DYLIB_PATH` is no file.
pub fn onnxruntime() -> Result<Option<PathBuf>> {
    let Some(file) = variable("ORT_DYLIB_PATH") else { return Ok(None) };
    if !file.is_file() {
        bail!(
            "ORT_DYLIB_PATH: {} is no file: correct it, or unset it to have ONNX Runtime downloaded",
            file.display()
        );
    }
    Ok(Some(file))
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
