//! State dicts that `torch.save` wrote.
//!
//! Nothing in such a file is run: there is a short list of what its pickle may name (`Global` in `objects.rs`), and
//! no way to call anything else. No more memory is asked for than the file has bytes for.

use crate::Weights;

use super::archive::Archive;
use super::builder::WeightsBuilder;
use super::error::FormatError;
use super::objects::{Object, StorageId, Tensor, Value};
use super::pickle::Pickle;
use super::tensor::Storage;
use super::{PICKLE, ZIP, legacy};

/// Where training scripts put their weights; timm's order, which prefers the moving average.
const NESTED: [&str; 4] = ["state_dict_ema", "model_ema", "state_dict", "model"];

/// Reads the weights of a `.pth`: a state dict, or a dict that holds one as `state_dict` and the like, in
/// either container.
///
/// # Errors
/// Every byte string that is not such a file has a [`FormatError`]; a pickle that asks for anything to be run is
/// [`FormatError::Global`], which says what.
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
            let bytes = bytes.ok_or_else(|| FormatError::Damaged("a storage is missing".into()))?;
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
