//! What `torch.save` wrote before PyTorch 1.6: five pickles, then the storages one after the other.

use std::collections::HashMap;

use super::error::FormatError;
use super::objects::Value;
use super::pickle::Pickle;

/// The number that the first pickle holds.
const MAGIC: i128 = 0x1950_A86A_20F9_469C_FC6C;
/// The number that the second one holds.
const VERSION: i128 = 1001;

/// What was saved, and the storages by name. Their values have the least significant byte first on every machine.
pub fn read(bytes: &[u8]) -> Result<(Pickle<'_>, HashMap<&str, &[u8]>), FormatError> {
    let mut rest = Rest(bytes);
    if rest.pickle()?.root != Value::Int(MAGIC) {
        return Err(FormatError::Unknown);
    }
    if rest.pickle()?.root != Value::Int(VERSION) {
        return Err(FormatError::Damaged("an unknown version of torch.save's format".into()));
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
        let storage = storage
            .ok_or_else(|| FormatError::Damaged("a storage is listed that no tensor belongs to".into()))?;
        storages.insert(storage.key, rest.storage(storage.dtype.bitsize() / 8)?);
    }
    Ok((saved, storages))
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn pickle(&mut self) -> Result<Pickle<'a>, FormatError> {
        let pickle = Pickle::read(self.0)?;
        self.0 = &self.0[pickle.len..];
        Ok(pickle)
    }

    /// A count of values of `size` bytes, then the values.
    fn storage(&mut self, size: usize) -> Result<&'a [u8], FormatError> {
        let parts = self.0.split_first_chunk().and_then(|(len, values)| {
            let len = usize::try_from(i64::from_le_bytes(*len)).ok()?;
            values.split_at_checked(len.checked_mul(size)?)
        });
        let (values, rest) = parts.ok_or_else(|| FormatError::Damaged("it ends inside a storage".into()))?;
        self.0 = rest;
        Ok(values)
    }
}
