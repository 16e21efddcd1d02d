//! Weights as `.safetensors` files, with the names of PyTorch's `state_dict`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use models::Weights;
use ndarray::ArrayD;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a checkpoint.
    #[error("{path} is not a safetensors checkpoint: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads all float32 tensors of a checkpoint; `num_batches_tracked` counters of PyTorch are left out.
pub fn load(path: &Path) -> Result<Weights, CheckpointError> {
    let format = |why: String| CheckpointError::Format { path: path.into(), why };
    let bytes = fs::read(path).map_err(|source| CheckpointError::Io {
        action: "cannot read",
        path: path.into(),
        source,
    })?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| format(error.to_string()))?;
    let mut weights = Weights::new();
    for (name, view) in file.iter() {
        if name.ends_with(".num_batches_tracked") {
            continue;
        }
        if view.dtype() != Dtype::F32 {
            return Err(format(format!("{name} is {:?}, not F32", view.dtype())));
        }
        let values =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let array =
            ArrayD::from_shape_vec(view.shape(), values).map_err(|error| format(error.to_string()))?;
        weights.insert(name.to_owned(), array);
    }
    Ok(weights)
}

/// Replaces the checkpoint at `path`; on failure the previous one stays.
pub fn save(weights: &Weights, path: &Path) -> Result<(), CheckpointError> {
    let bytes: Vec<(&String, Vec<u8>)> = weights
        .iter()
        .map(|(name, values)| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views: Vec<(&String, TensorView<'_>)> = bytes
        .iter()
        .map(|(name, bytes)| {
            let view = TensorView::new(Dtype::F32, weights[*name].shape().to_vec(), bytes);
            (*name, view.expect("as many bytes as the shape says"))
        })
        .collect();
    let file = safetensors::serialize(views, None)
        .map_err(|error| CheckpointError::Format { path: path.into(), why: error.to_string() })?;
    infer::files::write_atomically(path, |out| out.write_all(&file)).map_err(|source| CheckpointError::Io {
        action: "cannot save",
        path: path.into(),
        source,
    })
}
