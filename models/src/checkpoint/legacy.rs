//! Files that `torch.save` wrote before PyTorch 1.6: five pickles, followed by the storages.

use std::collections::HashMap;
use std::ops::Range;

use super::error::FormatError;
use super::objects::{StorageId, Value};
use super::pickle::Pickle;

/// Magic number, in the first pickle.
const MAGIC: i128 = 0x1950_A86A_20F9_469C_FC6C;
/// Version of the format, in the second pickle.
const VERSION: i128 = 1001;

/// Positions of storages in the file, by name.
pub type Storages<'a> = HashMap<&'a str, Range<usize>>;

/// Tells whether a pickle is the first one of such a file.
pub fn begins(first: &Pickle<'_>) -> bool {
    first.root == Value::Int(MAGIC)
}

/// Reads the saved object and the places of its storages, whose values are little-endian on every machine.
///
/// # Errors
/// [`FormatError`] when the bytes are not such a file.
pub fn read(bytes: &[u8]) -> Result<(Pickle<'_>, Storages<'_>), FormatError> {
    let mut rest = Rest { bytes, at: 0 };
    if rest.pickle()?.root != Value::Int(MAGIC) {
        return Err(FormatError::Unknown);
    }
    if rest.pickle()?.root != Value::Int(VERSION) {
        return Err(FormatError::Damaged("an unknown version of torch.save's format"));
    }
    let _machine = rest.pickle()?;
    let saved = rest.pickle()?;
    let keys = rest.pickle()?;
    let known: HashMap<&str, StorageId<'_>> =
        saved.objects.storages().map(|storage| (storage.key, storage)).collect();
    let mut storages = HashMap::new();
    for &key in keys.objects.sequence(keys.root).unwrap_or_default() {
        let storage = match key {
            Value::Text(key) => known.get(key),
            _ => None,
        };
        let storage = storage.ok_or(FormatError::Damaged("a storage is listed that no tensor belongs to"))?;
        storages.insert(storage.key, rest.storage(storage.element.size)?);
    }
    Ok((saved, storages))
}

/// Bytes of which those before `at` have been read.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn pickle(&mut self) -> Result<Pickle<'a>, FormatError> {
        let pickle = Pickle::read(&self.bytes[self.at..])?;
        self.at += pickle.len;
        Ok(pickle)
    }

    /// Reads a storage: the number of its values, then the values of `size` bytes each.
    fn storage(&mut self, size: usize) -> Result<Range<usize>, FormatError> {
        let range = self.bytes[self.at..].first_chunk().and_then(|len| {
            let len = usize::try_from(i64::from_le_bytes(*len)).ok()?.checked_mul(size)?;
            let start = self.at + size_of::<i64>();
            Some(start..start.checked_add(len)?).filter(|range| range.end <= self.bytes.len())
        });
        let range = range.ok_or(FormatError::Damaged("it ends inside a storage"))?;
        self.at = range.end;
        Ok(range)
    }
}
