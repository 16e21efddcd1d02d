//! Instructions of a pickle and their arguments, read from bytes.

use super::error::FormatError;
use super::objects::Value;

/// Bytes of a pickle, read from the start.
#[derive(Debug, Default)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    /// Number of bytes read.
    pub at: usize,
    /// Start of the current instruction.
    start: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, start: 0 }
    }

    /// Reads the next instruction.
    ///
    /// # Errors
    /// [`FormatError::Pickle`] when the pickle ends early or is damaged.
    pub fn instruction(&mut self) -> Result<u8, FormatError> {
        self.start = self.at;
        let [instruction] = self.array()?;
        Ok(instruction)
    }

    /// Error at the current instruction.
    pub fn fault(&self, why: &'static str) -> FormatError {
        FormatError::Pickle { at: self.start, why }
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// [`FormatError::Pickle`] when the pickle ends early or is damaged.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let taken = self.bytes[self.at..].get(..len).ok_or_else(|| self.fault("it ends early"))?;
        self.at += len;
        Ok(taken)
    }

    /// Takes an array of bytes.
    ///
    /// # Errors
    /// [`FormatError::Pickle`] when the pickle ends early or is damaged.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Reads a little-endian length of `bytes` bytes.
    ///
    /// # Errors
    /// [`FormatError::Pickle`] when the pickle ends early or is damaged.
    pub fn len(&mut self, bytes: usize) -> Result<usize, FormatError> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(self.take(bytes)?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| self.fault("it ends early"))
    }

    /// Reads text up to the end of the line.
    ///
    /// # Errors
    /// [`FormatError::Pickle`] when the pickle ends early or is damaged.
    pub fn line(&mut self) -> Result<&'a str, FormatError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.fault("it ends early"))?;
        self.at += len + 1;
        str::from_utf8(&rest[..len]).map_err(|_| self.fault("text that is not UTF-8"))
    }

    /// Reads the number of a place in the memo, in text.
    ///
    /// # Errors
    /// [`FormatError::Pickle`] when the pickle ends early or is damaged.
    pub fn decimal(&mut self) -> Result<u32, FormatError> {
        self.line()?.parse().map_err(|_| self.fault("a place that is no number"))
    }

    /// Reads text or bytes. Text that is not UTF-8 names no tensor.
    ///
    /// # Errors
    /// [`FormatError::Pickle`] when the pickle ends early or is damaged.
    pub fn text(&mut self, instruction: u8) -> Result<Value<'a>, FormatError> {
        let bytes = match instruction {
            b'V' => return self.line().map(Value::Text), // UNICODE
            b'S' => {
                let quoted = self.line()?; // STRING, in quotes
                return Ok(Value::Text(quoted.trim_matches(['\'', '"'])));
            }
            b'U' | 0x8C | b'C' => {
                let len = self.len(1)?; // SHORT_BINSTRING, SHORT_BINUNICODE, SHORT_BINBYTES
                self.take(len)?
            }
            b'T' | b'X' | b'B' => {
                let len = self.len(4)?; // BINSTRING, BINUNICODE, BINBYTES
                self.take(len)?
            }
            _ => {
                let len = self.len(8)?; // BINUNICODE8, BINBYTES8, BYTEARRAY8
                self.take(len)?
            }
        };
        let binary = matches!(instruction, b'C' | b'B' | 0x8E | 0x96);
        Ok(match str::from_utf8(bytes) {
            Ok(text) if !binary => Value::Text(text),
            _ => Value::Bytes(bytes),
        })
    }

    /// Reads a number.
    ///
    /// # Errors
    /// [`FormatError::Pickle`] when the pickle ends early or is damaged.
    pub fn number(&mut self, instruction: u8) -> Result<Value<'a>, FormatError> {
        Ok(match instruction {
            0x88 => Value::Int(1), // NEWTRUE
            0x89 => Value::Int(0), // NEWFALSE
            b'K' => Value::Int(u8::from_le_bytes(self.array()?).into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            0x8A => {
                let len = self.len(1)?; // LONG1
                long(self.take(len)?)
            }
            0x8B => {
                let len = self.len(4)?; // LONG4
                long(self.take(len)?)
            }
            b'G' => {
                self.take(8)?; // BINFLOAT
                Value::Other
            }
            // INT, LONG, FLOAT: text
            _ => self.line()?.trim_end_matches('L').parse().map_or(Value::Other, Value::Int),
        })
    }
}

/// Reads a little-endian integer in two's complement; of one beyond 128 bits, no tensor depends on the value.
fn long<'a>(bytes: &[u8]) -> Value<'a> {
    let fill = if bytes.last().is_some_and(|byte| byte >> 7 == 1) { 0xFF } else { 0 };
    let mut wide = [fill; 16];
    match wide.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Value::Int(i128::from_le_bytes(wide))
        }
        None => Value::Other,
    }
}
