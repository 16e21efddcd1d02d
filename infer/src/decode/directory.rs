//! Directory of a TIFF file or an EXIF block: numbers by their tags (TIFF 6.0, section 2; BigTIFF).

use std::ops::Range;

/// First directory of a file.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    little_endian: bool,
    is_big: bool,
    /// Where the entries are, each of the same length.
    entries: Range<usize>,
}

impl<'a> Directory<'a> {
    /// Finds the first directory, in either byte order.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let little_endian = match bytes.get(..2)? {
            b"II" => true,
            b"MM" => false,
            _ => return None,
        };
        let is_big = number(little_endian, bytes.get(2..4)?) == 43;
        let read = |at: Range<usize>| usize::try_from(number(little_endian, bytes.get(at)?)).ok();
        let (offset, count, entry) = if is_big { (8..16, 8, 20) } else { (4..8, 2, 12) };
        let offset = read(offset)?;
        let start = offset.checked_add(count)?;
        let entries = read(offset..start)?.checked_mul(entry)?;
        // A directory that is cut off still has its first entries.
        let end = start.checked_add(entries)?.min(bytes.len());
        Some(Self { bytes, little_endian, is_big, entries: start..end })
    }

    /// Value of `tag`, if it is one whole number.
    pub(super) fn number(&self, tag: u16) -> Option<u64> {
        match self.numbers(tag)?[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Values of `tag`, if they are whole numbers. Of entries that repeat a tag, the last counts.
    pub(super) fn numbers(&self, tag: u16) -> Option<Vec<u64>> {
        let (values, size) = self.values(tag)?;
        let values = self.bytes.get(values)?;
        Some(values.chunks_exact(size).map(|value| number(self.little_endian, value)).collect())
    }

    /// Values of `tag`, if they are bytes.
    #[cfg(feature = "formats")]
    pub(super) fn bytes(&self, tag: u16) -> Option<&'a [u8]> {
        let (values, size) = self.values(tag)?;
        self.bytes.get(values).filter(|_| size == 1)
    }

    /// Position of the lowest byte of the first value of `tag`.
    #[cfg(feature = "formats")]
    pub(super) fn position(&self, tag: u16) -> Option<usize> {
        let (values, size) = self.values(tag)?;
        Some(values.start + if self.little_endian { 0 } else { size - 1 })
    }

    /// Where the values of `tag` are, and the size of each, in bytes.
    fn values(&self, tag: u16) -> Option<(Range<usize>, usize)> {
        let (count_length, entry_length) = if self.is_big { (8, 20) } else { (4, 12) };
        let entries = self.bytes.get(self.entries.clone())?;
        let read = |bytes: &[u8]| number(self.little_endian, bytes);
        let index =
            entries.chunks_exact(entry_length).rposition(|entry| read(&entry[..2]) == u64::from(tag))?;
        let entry = &entries[index * entry_length..][..entry_length];
        let size = match read(&entry[2..4]) {
            1 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 13 => 4,
            16..=18 => 8,
            _ => return None,
        };
        let (count, inside) = entry[4..].split_at(count_length);
        let length = usize::try_from(read(count)).ok()?.checked_mul(size)?;
        // Values that fit stand in the entry, others elsewhere.
        let start = match length <= count_length {
            true => self.entries.start + (index + 1) * entry_length - count_length,
            false => usize::try_from(read(inside)).ok()?,
        };
        Some((start..start.checked_add(length)?, size))
    }
}

/// Whole number of up to eight bytes.
fn number(little_endian: bool, bytes: &[u8]) -> u64 {
    let join = |value, &byte: &u8| value << 8 | u64::from(byte);
    if little_endian { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) }
}
