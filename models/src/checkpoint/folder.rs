//! Checkpoints in several files: folders of Hugging Face, and indices of parts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::{CheckpointError, FormatError};

/// Files with weights that a folder may hold, the preferred ones first.
const NAMES: [&str; 6] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
];

/// Finds the file with the weights in a folder, as Hugging Face's tools name it.
///
/// # Errors
/// [`CheckpointError::Format`] with [`FormatError::NoFile`] when there is none.
pub fn weights(folder: &Path) -> Result<PathBuf, CheckpointError> {
    if let Some(found) = NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file()) {
        return Ok(found);
    }
    let source = match folder.join(".metadata").is_file() {
        true => FormatError::Foreign(
            "a distributed checkpoint of PyTorch: convert it with torch.distributed.checkpoint.format_utils",
        ),
        false => FormatError::NoFile(NAMES[..4].join(", ")),
    };
    Err(CheckpointError::Format { path: folder.into(), source })
}

/// Index of the parts of a checkpoint: the file that each tensor is in.
#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// Reads the names of a checkpoint's parts, which lie beside their index.
///
/// # Errors
/// [`FormatError::Index`] when it is no index, or names files elsewhere.
pub fn parts(path: &Path, bytes: &[u8]) -> Result<Vec<PathBuf>, FormatError> {
    let index: Index = serde_json::from_slice(bytes).map_err(FormatError::Index)?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let part = |name: String| match Path::new(&name).file_name() {
        Some(file) if file == name.as_str() => Ok(path.with_file_name(name)),
        _ => Err(FormatError::Elsewhere(FormatError::quote(&name))),
    };
    names.into_iter().map(part).collect()
}
