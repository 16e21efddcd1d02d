//! Files that `torch.save` wrote before PyTorch 1.6: five pickles, followed by the storages.

use std::collections::HashMap;

use super::error::FormatError;
use super::objects::Value;
use super::pickle::Pickle;

/// Magic number, in the first pickle.
const MAGIC: i128 = 0x1950_A86A_20F9_469C_FC6C;
/// Version of the format, in the second pickle.
const VERSION: i128 = 1001;

/// Reads the saved object, and the storages by name; their values are little-endian on every machine.
///
/// # Errors
/// [`FormatError`] when the bytes are not such a file.
pub fn read(bytes: &[u8]) -> Result<(Pickle<'_>, HashMap<&str, &[u8]>), FormatError> {
    let mut rest = Rest(bytes);
    if rest.pickle()?.root != Value::Int(MAGIC) {
        return Err(FormatError::Unknown);
    }
    if rest.pickle()?.root != Value::Int(VERSION) {
        return Err(FormatError::Damaged("an unknown version of torch.save's format"));
    }
    let _machine = rest.pickle()?;
    let saved = rest.pickle()?;
    let keys = rest.pickle()?;
    let known: HashMap<&str, _> = saved.objects.storages().map(|storage| (storage.key, storage)).collect();
    let mut storages = HashMap::new();
    for &key in keys.objects.sequence(keys.root).unwrap_or_default() {
        let storage = match key {
            Value::Text(key) => known.get(key),
            _ => None,
        };
        let storage = storage.ok_or(FormatError::Damaged("a storage is listed that no tensor belongs to"))?;
        storages.insert(storage.key, rest.storage(storage.dtype.bitsize() / 8)?);
    }
    Ok((saved, storages))
}

/// Bytes that have not been read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn pickle(&mut self) -> Result<Pickle<'a>, FormatError> {
        let pickle = Pickle::read(self.0)?;
        self.0 = &self.0[pickle.len..];
        Ok(pickle)
    }

    /// Reads a storage: the number of its values, then the values of `size` bytes each.
    fn storage(&mut self, size: usize) -> Result<&'a [u8], FormatError> {
        let parts = self.0.split_first_chunk().and_then(|(len, values)| {
            let len = usize::try_from(i64::from_le_bytes(*len)).ok()?;
            values.split_at_checked(len.checked_mul(size)?)
        });
        let (values, rest) = parts.ok_or(FormatError::Damaged("it ends inside a storage"))?;
        self.0 = rest;
        Ok(values)
    }
}
