//! Checkpoints: reads safetensors files and those of `torch.save`, writes safetensors.
//!
//! Weights have the names of PyTorch's `state_dict`. No code in a file is ever run. [`Checkpoint`] is everything that a
//! file holds; [`Checkpoint::candidates`] finds the tensors of a network in it, by their names, under any prefix.

mod archive;
mod calls;
mod candidates;
mod cursor;
mod error;
pub mod families;
mod flatten;
mod folder;
mod foreign;
mod legacy;
mod misfit;
pub mod network;
mod numpy;
mod objects;
mod passed_over;
mod pickle;
mod pth;
mod safetensors;
mod state_dict;
mod stored;
mod tensor;

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use ndarray::ArrayD;

use crate::Weights;

pub use candidates::{Candidate, Sought};
pub use error::{CheckpointError, FormatError, TensorError};
pub use folder::{parts, weights as file_in};
pub use misfit::Misfit;
pub use passed_over::{Group, PassedOver};
pub use stored::StoredTensor;

use stored::File;

/// First bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";
/// Description of a TorchScript program whose weights are constants of its code.
const FROZEN: &str = "a TorchScript program without parameters, such as a frozen one: save the state_dict of the module \
                      with torch.save";
/// End of the names of files that list the parts of a checkpoint.
const INDEX: &str = ".index.json";

/// Content of a checkpoint: all its tensors, whose values are read when they are needed.
#[derive(Debug)]
pub struct Checkpoint<'a> {
    file: File<'a>,
}

impl Checkpoint<'static> {
    /// Opens a checkpoint: a file, the index of a checkpoint in several files, or a folder that holds one of them.
    ///
    /// The content decides the format. In a folder, `model.safetensors` is preferred to `pytorch_model.bin`.
    ///
    /// # Errors
    /// [`CheckpointError::Read`] when a file cannot be read, [`CheckpointError::Format`] when it is not a checkpoint.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::open(folder::weights(path)?);
        }
        let read = |path: &Path| {
            fs::read(path).map_err(|source| CheckpointError::Read { path: path.into(), source })
        };
        let format = |source, path: &Path| CheckpointError::Format { path: path.into(), source };
        let bytes = read(path)?;
        let mut whole = File::default();
        if path.to_string_lossy().ends_with(INDEX) {
            for part in parts(path, &bytes).map_err(|source| format(source, path))? {
                whole.join(parse(read(&part)?.into()).map_err(|source| format(source, &part))?);
            }
        } else {
            whole = parse(bytes.into()).map_err(|source| format(source, path))?;
        }
        Ok(Self { file: whole })
    }
}

impl<'a> Checkpoint<'a> {
    /// Reads a checkpoint in memory, see [`open`](Checkpoint::open).
    ///
    /// # Errors
    /// [`FormatError`] for bytes that are not a checkpoint.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Ok(Self { file: parse(bytes.into())? })
    }

    /// Keeps only the tensors under `key`, such as `model_ema` or `state_dict.teacher`; their names stay.
    ///
    /// # Errors
    /// [`FormatError::NoKey`] when there are none.
    pub fn under(mut self, key: &str) -> Result<Self, FormatError> {
        let key = format!("{}.", key.trim_end_matches('.'));
        let keys = PassedOver::new(&self.tensors().iter().collect::<Vec<_>>()).keys();
        self.file.tensors.retain(|tensor| tensor.name.starts_with(&key));
        match self.file.tensors[..] {
            [] => Err(FormatError::NoKey { key: FormatError::quote(&key), keys }),
            _ => Ok(self),
        }
    }

    /// Tensors in the order of the file.
    pub fn tensors(&self) -> &[StoredTensor] {
        &self.file.tensors
    }

    /// Classes and functions that the file names. None was created or called.
    pub fn classes(&self) -> &[String] {
        &self.file.classes
    }

    /// Reads the values of tensors as 32-bit floats, by the names that are given with them.
    ///
    /// # Errors
    /// [`FormatError::Tensor`] when one of them cannot be a weight.
    pub fn weights<'t>(
        &self,
        tensors: impl IntoIterator<Item = (String, &'t StoredTensor)>,
    ) -> Result<Weights, FormatError> {
        // Views may overlap, so a few bytes could otherwise become any number of values.
        let mut budget: usize = self.file.buffers.iter().map(|buffer| buffer.len()).sum();
        let mut weights = Weights::new();
        for (name, tensor) in tensors {
            let failed = |why| FormatError::Tensor { name: FormatError::quote(&tensor.name), why };
            let values = self.values(tensor, &mut budget).map_err(failed)?;
            if name.chars().any(char::is_control) {
                return Err(failed(TensorError::Name));
            }
            if weights.insert(name, values).is_some() {
                return Err(failed(TensorError::Twice));
            }
        }
        Ok(weights)
    }

    fn values(&self, tensor: &StoredTensor, budget: &mut usize) -> Result<ArrayD<f32>, TensorError> {
        if let Ok(stored) = &tensor.content {
            let left = stored.layout.len().and_then(|len| budget.checked_sub(len));
            *budget = left.ok_or(TensorError::TooLarge)?;
        }
        tensor.values(&self.file.buffers)
    }
}

/// Loads the weights of the checkpoint at `path` as 32-bit floats; the content decides the format.
///
/// A file with several state dicts gives the one with the most tensors; of as many, a moving average, else the first.
/// [`Checkpoint::candidates`] finds those of a given network instead. PyTorch's `num_batches_tracked` counters and the
/// `module.` prefix of its wrappers are dropped.
///
/// # Errors
/// [`CheckpointError::Read`] when the file cannot be read, [`CheckpointError::Format`] when it is not a checkpoint.
pub fn load(path: impl AsRef<Path>) -> Result<Weights, CheckpointError> {
    let path = path.as_ref();
    let weights = Checkpoint::open(path)?.state_dict();
    weights.map_err(|source| CheckpointError::Format { path: path.into(), source })
}

/// Reads the weights of a checkpoint in memory, see [`load`].
///
/// # Errors
/// [`FormatError`] for bytes that are not a checkpoint.
pub fn read(bytes: &[u8]) -> Result<Weights, FormatError> {
    Checkpoint::from_bytes(bytes)?.state_dict()
}

fn parse(bytes: Cow<'_, [u8]>) -> Result<File<'_>, FormatError> {
    // A safetensors file begins with a length, which may look like the start of another format. Its header decides.
    if bytes.get(8) == Some(&b'{') && bytes.first() != Some(&b'{') {
        return safetensors::read(bytes);
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Err(FormatError::Tar);
    }
    if let Some(format) = foreign::recognise(&bytes) {
        return Err(FormatError::Foreign(format));
    }
    let file = pth::read(bytes)?;
    match file.tensors[..] {
        [] if file.classes.iter().any(|class| class.starts_with("__torch__")) => {
            Err(FormatError::Foreign(FROZEN))
        }
        [] => Err(FormatError::NoTensors { classes: FormatError::quote(&file.classes.join(", ")) }),
        _ => Ok(file),
    }
}

/// Tells whether a prefix names a moving average of weights: `ema`, `swa` or `averaged` is one of its words.
fn moving_average(prefix: &str) -> bool {
    let prefix = prefix.to_ascii_lowercase();
    let mut words = prefix.split(|sign: char| !sign.is_ascii_alphabetic());
    words.any(|word| matches!(word, "ema" | "swa" | "shadow") || word.starts_with("averag"))
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
