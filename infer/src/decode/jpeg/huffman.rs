//! Huffman codes of a JPEG (ITU-T T.81, annexes C and F.2.2), read only to find out where they end.

use super::Damage;

/// Length of the codes that one lookup resolves, in bits.
const LOOKUP: u32 = 10;

/// Longest code and its extra bits together, in bits: [`Bits::refill`] makes this many available.
const LONGEST: u32 = 32;

/// Bit reader over entropy-coded data, up to the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits from the top down; bits below `count` are undefined.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// Starts at the beginning of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, count: 0 }
    }

    /// Fills the buffer, unless a marker or the end of the bytes is near.
    #[inline]
    fn refill(&mut self) {
        if self.count >= LONGEST {
            return;
        }
        match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(&next) if !next.contains(&0xff) => {
                self.buffer |= u64::from_be_bytes(next) >> self.count;
                let read = (63 - self.count) / 8;
                self.at += read as usize;
                self.count += 8 * read;
            }
            _ => self.refill_bytewise(),
        }
    }

    #[cold]
    fn refill_bytewise(&mut self) {
        // The fast path leaves bits of the next byte below `count`.
        self.buffer &= u64::MAX.checked_shl(64 - self.count).unwrap_or(0);
        while self.count <= 56 {
            let (byte, length) = match self.bytes[self.at..] {
                [0xff, 0x00, ..] => (0xff, 2),
                [0xff, ..] | [] => return,
                [byte, ..] => (byte, 1),
            };
            self.at += length;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline]
    fn skip(&mut self, bits: u32) -> Result<(), Damage> {
        if bits > self.count {
            return Err(Damage::EndsEarly);
        }
        self.buffer <<= bits;
        self.count -= bits;
        Ok(())
    }

    /// Reads `bits` bits, at most 16.
    #[inline]
    pub(super) fn read(&mut self, bits: u32) -> Result<u32, Damage> {
        self.refill();
        let value = self.buffer.checked_shr(64 - bits).unwrap_or(0) as u32;
        self.skip(bits)?;
        Ok(value)
    }

    /// Reads a symbol and skips the bits that follow it: as many as the symbol's lower four bits say.
    #[inline]
    pub(super) fn symbol_and_value(&mut self, codes: &Codes) -> Result<u8, Damage> {
        self.refill();
        let entry = codes.lookup[(self.buffer >> (64 - LOOKUP)) as usize];
        let (symbol, length) = if entry == 0 { codes.long(self.buffer)? } else { unpack(entry) };
        self.skip(length + u32::from(symbol & 15))?;
        Ok(symbol)
    }

    /// Reads a symbol.
    #[inline]
    pub(super) fn symbol(&mut self, codes: &Codes) -> Result<u8, Damage> {
        self.refill();
        let entry = codes.lookup[(self.buffer >> (64 - LOOKUP)) as usize];
        let (symbol, length) = if entry == 0 { codes.long(self.buffer)? } else { unpack(entry) };
        self.skip(length)?;
        Ok(symbol)
    }

    /// Ends reading: the position of the next marker, and whether bytes other than padding are left before it.
    pub(super) fn finish(self) -> (usize, bool) {
        let marker = self.at + marker_in(&self.bytes[self.at..]);
        // The rest of a byte that was begun is padding.
        let buffered = self.buffer.checked_shl(self.count % 8).unwrap_or(0).to_be_bytes();
        let buffered = &buffered[..self.count as usize / 8];
        let left =
            buffered.iter().chain(&self.bytes[self.at..marker]).any(|byte| !matches!(byte, 0x00 | 0xff));
        (marker, left)
    }
}

/// Position of the first marker in `bytes`, or their length.
fn marker_in(bytes: &[u8]) -> usize {
    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff);
    bytes.windows(2).position(is_marker).unwrap_or(bytes.len())
}

fn unpack(entry: u16) -> (u8, u32) {
    ((entry >> 8) as u8, u32::from(entry & 0xff))
}

/// Huffman table: codes of up to 16 bits, and the symbol of each.
pub(super) struct Codes {
    /// Symbol and length of the code that begins with the index, or 0 for longer codes.
    lookup: Box<[u16; 1 << LOOKUP]>,
    /// For each length: the first code above those of this length, aligned to 16 bits.
    above: [u32; 17],
    /// For each length: index of the symbol of code 0, were there one.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    /// Builds the table from the number of codes of each length, 1 to 16, and the symbols in the order of their codes.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, Damage> {
        let mut lookup = Box::new([0; 1 << LOOKUP]);
        let (mut above, mut offset) = ([0; 17], [0; 17]);
        let (mut code, mut index) = (0u32, 0);
        for (length, &count) in (1u32..).zip(counts) {
            offset[length as usize] = index as i32 - code as i32;
            for &symbol in symbols.get(index..index + usize::from(count)).ok_or(Damage::Table)? {
                if length <= LOOKUP {
                    let first = (code << (LOOKUP - length)) as usize;
                    let entries = lookup.get_mut(first..first + (1 << (LOOKUP - length)));
                    entries.ok_or(Damage::Table)?.fill(u16::from(symbol) << 8 | length as u16);
                }
                code += 1;
            }
            // No code has ones only.
            if count > 0 && code >= 1 << length {
                return Err(Damage::Table);
            }
            index += usize::from(count);
            above[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(Self { lookup, above, offset, symbols: symbols.to_vec() })
    }

    /// Symbol and length of the code at the top of `buffer` that is longer than a lookup.
    #[cold]
    fn long(&self, buffer: u64) -> Result<(u8, u32), Damage> {
        let bits = (buffer >> 48) as u32;
        let length = (LOOKUP + 1..=16).find(|&length| bits < self.above[length as usize]);
        let length = length.ok_or(Damage::Code)?;
        let index = (bits >> (16 - length)) as i32 + self.offset[length as usize];
        let symbol = usize::try_from(index).ok().and_then(|index| self.symbols.get(index));
        Ok((*symbol.ok_or(Damage::Code)?, length))
    }
}
