//! Weights in files. Ours are `.safetensors` with the names of PyTorch's `state_dict`; read are also the files that
//! others make with `torch.save`.

mod archive;
mod builder;
mod error;
mod legacy;
mod objects;
mod pickle;
pub mod pth;
mod safetensors;
mod tensor;

use std::fs;
use std::path::Path;

use crate::Weights;

pub use error::{CheckpointError, FormatError};

/// How a zip archive begins.
const ZIP: &[u8] = b"PK\x03\x04";
/// How a pickle begins.
const PICKLE: &[u8] = b"\x80";

/// Reads the weights of a checkpoint, whatever it is called, as float32.
///
/// `num_batches_tracked` counters of PyTorch are left out, and so is the `module.` of its wrappers.
///
/// # Errors
/// [`CheckpointError::Io`] when there is no such file, [`CheckpointError::Format`] when it holds anything else.
pub fn load(path: impl AsRef<Path>) -> Result<Weights, CheckpointError> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| CheckpointError::Io {
        action: "cannot read",
        path: path.into(),
        source,
    })?;
    read(&bytes).map_err(|source| CheckpointError::Format { path: path.into(), source })
}

/// Reads the weights of a checkpoint in memory, see [`load`].
///
/// # Errors
/// Every byte string that is none has a [`FormatError`].
pub fn read(bytes: &[u8]) -> Result<Weights, FormatError> {
    // The length that a safetensors file begins with may look like the beginning of any other, so its header decides.
    if bytes.get(8) == Some(&b'{') {
        safetensors::read(bytes)
    } else if bytes.get(257..262) == Some(b"ustar") {
        Err(FormatError::Tar)
    } else {
        pth::read(bytes)
    }
}

/// Replaces the checkpoint at `path`; on failure the previous one stays.
///
/// # Errors
/// [`CheckpointError::Io`] when it cannot be written.
pub fn save(weights: &Weights, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    let bytes = safetensors::write(weights)
        .map_err(|source| CheckpointError::Encode { path: path.into(), source })?;
    crate::files::write_atomically(path, |out| out.write_all(&bytes)).map_err(|source| CheckpointError::Io {
        action: "cannot save",
        path: path.into(),
        source,
    })
}
