//! Reader for the `.pth` files of `torch.save`.
//!
//! No code in a file is run: its pickle may name the functions in a short list only (`Global` in `objects.rs`). The memory
//! used is bounded by the size of the file.

use crate::Weights;

use super::archive::Archive;
use super::builder::WeightsBuilder;
use super::error::FormatError;
use super::objects::{Object, StorageId, Tensor, Value};
use super::pickle::Pickle;
use super::tensor::Storage;
use super::{PICKLE, ZIP, legacy};

/// Keys under which training scripts save their weights, in timm's order, which prefers the moving average.
const NESTED: [&str; 4] = ["state_dict_ema", "model_ema", "state_dict", "model"];

/// Reads the weights of a `.pth` file: a state dict, or a dict that holds one under `state_dict` or a similar key.
///
/// # Errors
/// [`FormatError`] for bytes that are not such a file; [`FormatError::Global`] names a function that the pickle wants to call.
pub fn read(bytes: &[u8]) -> Result<Weights, FormatError> {
    if bytes.starts_with(ZIP) {
        let mut archive = Archive::open(bytes)?;
        let pickle = Pickle::read(archive.file("data.pkl")?)?;
        let big_endian = archive.contains("byteorder") && archive.file("byteorder")? == b"big";
        weights(bytes, &pickle, |StorageId { key, dtype }| {
            Ok(Storage { dtype, bytes: archive.file(&format!("data/{key}"))?, big_endian })
        })
    } else if bytes.starts_with(PICKLE) {
        let (pickle, storages) = legacy::read(bytes)?;
        weights(bytes, &pickle, |StorageId { key, dtype }| {
            let bytes = storages.get(key).copied();
            let bytes = bytes.ok_or(FormatError::Damaged("a storage is missing"))?;
            Ok(Storage { dtype, bytes, big_endian: false })
        })
    } else {
        Err(FormatError::Unknown)
    }
}

fn weights<'a>(
    file: &[u8],
    pickle: &Pickle<'a>,
    mut storage: impl FnMut(StorageId<'a>) -> Result<Storage<'a>, FormatError>,
) -> Result<Weights, FormatError> {
    let mut weights = WeightsBuilder::new(file);
    for (name, tensor) in state_dict(pickle)? {
        weights.add(name, storage(tensor.storage)?, &tensor.layout)?;
    }
    Ok(weights.build())
}

fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Vec<(&'a str, &'p Tensor<'a>)>, FormatError> {
    let objects = &pickle.objects;
    let Some(root) = objects.dict(pickle.root) else { return Err(nothing("no dict")) };
    let nested = NESTED.iter().find_map(|name| {
        let (_, value) = root.iter().find(|(key, _)| *key == Value::Text(name))?;
        objects.dict(*value)
    });
    let entry = |&(key, value): &(Value<'a>, Value<'a>)| match (key, objects.get(value)) {
        (Value::Text(name), Some(Object::Tensor(tensor))) => Some((name, tensor)),
        _ => None,
    };
    let entries = nested.unwrap_or(root);
    entries.iter().map(entry).collect::<Option<_>>().ok_or_else(|| nothing(&keys(entries)))
}

fn keys(entries: &[(Value<'_>, Value<'_>)]) -> String {
    let words: Vec<_> = entries
        .iter()
        .filter_map(|(key, _)| match key {
            Value::Text(text) => Some(*text),
            _ => None,
        })
        .take(20)
        .collect();
    words.join(", ")
}

fn nothing(found: &str) -> FormatError {
    FormatError::NoStateDict { known: NESTED.join(", "), found: FormatError::quote(found) }
}
