//! Checkpoints: reads safetensors files and those of `torch.save`, writes safetensors.
//!
//! Weights have the names of PyTorch's `state_dict`. No code in a file is ever run.

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

pub use error::{CheckpointError, FormatError, TensorError};

/// First bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";
/// First byte of a pickle.
const PICKLE: &[u8] = b"\x80";

/// Loads the weights of the checkpoint file at `path` as 32-bit floats; the content decides the format.
///
/// PyTorch's `num_batches_tracked` counters and the `module.` prefix of its wrappers are dropped.
///
/// # Errors
/// [`CheckpointError::Read`] when the file cannot be read, [`CheckpointError::Format`] when it is not a checkpoint.
pub fn load(path: impl AsRef<Path>) -> Result<Weights, CheckpointError> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| CheckpointError::Read { path: path.into(), source })?;
    read(&bytes).map_err(|source| CheckpointError::Format { path: path.into(), source })
}

/// Reads the weights of a checkpoint in memory, see [`load`].
///
/// # Errors
/// [`FormatError`] for bytes that are not a checkpoint.
pub fn read(bytes: &[u8]) -> Result<Weights, FormatError> {
    // A safetensors file begins with a length, which may look like the start of another format. Its header decides.
    if bytes.get(8) == Some(&b'{') {
        safetensors::read(bytes)
    } else if bytes.get(257..262) == Some(b"ustar") {
        Err(FormatError::Tar)
    } else {
        pth::read(bytes)
    }
}

/// Saves weights as safetensors at `path`; if that fails, a previous file is unchanged.
///
/// # Errors
/// [`CheckpointError::Save`] when the file cannot be written, [`CheckpointError::Encode`] when safetensors cannot hold the
/// weights.
pub fn save(weights: &Weights, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    let bytes = safetensors::write(weights)
        .map_err(|source| CheckpointError::Encode { path: path.into(), source })?;
    crate::files::write_atomically(path, |out| out.write_all(&bytes))
        .map_err(|source| CheckpointError::Save { path: path.into(), source })
}
