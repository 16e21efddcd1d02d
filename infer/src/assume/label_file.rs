//! Files with the names of classes: text, one a line, or JSON.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::names::{self, NamesError};
use crate::error::{Error, Result};

/// Largest file that is read, in bytes.
pub const LARGEST: u64 = 16 << 20;

/// Names of classes from a file, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LabelFile {
    /// Names of the classes, in the order of the outputs.
    pub labels: Vec<String>,
    /// Encoding of the text.
    pub encoding: Encoding,
}

/// Encoding of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    Utf8,
    /// UTF-16, the lower byte first.
    Utf16Le,
    /// UTF-16, the higher byte first.
    Utf16Be,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le => "UTF-16 (little-endian)",
            Self::Utf16Be => "UTF-16 (big-endian)",
        })
    }
}

/// Reason why a file does not name classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelFileError {
    /// The file is larger than [`LARGEST`].
    #[error("larger than {} MB, which is no file with labels", LARGEST >> 20)]
    TooLarge,
    /// The text is neither UTF-8 nor UTF-16.
    #[error("line {line} is not UTF-8 (byte {byte} of the file): save the file as UTF-8")]
    Encoding {
        /// Line, from 1 on.
        line: usize,
        /// Place in the file, from 0 on.
        byte: usize,
    },
    /// The file begins with a mark of UTF-16, and is not.
    #[error("begins like UTF-16, and is not: save the file as UTF-8")]
    Utf16,
    /// The text does not name classes.
    #[error("does not name the classes")]
    Names(#[from] NamesError),
}

impl LabelFile {
    /// Parses the content of a file.
    ///
    /// # Errors
    /// [`LabelFileError`].
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, LabelFileError> {
        if bytes.len() as u64 > LARGEST {
            return Err(LabelFileError::TooLarge);
        }
        let (text, encoding) = decode(bytes)?;
        Ok(Self { labels: labels(&text)?, encoding })
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Io`](crate::ErrorKind::Io) or [`Labels`](crate::ErrorKind::Labels),
    /// naming the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_limited(path, LARGEST)?;
        Self::parse(&bytes).map_err(|error| Error::from(error).at(path))
    }

    /// Labels that several classes have, such as ImageNet's `crane`: they cannot be told apart.
    pub fn repeated(&self) -> Vec<&str> {
        let mut sorted: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let mut repeated: Vec<_> =
            sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        repeated.dedup();
        repeated
    }
}

/// Reads a file up to one byte more than `largest`.
pub(super) fn read_limited(path: &Path, largest: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(largest + 1).read_to_end(&mut bytes));
    read.map_err(|error| Error::io(path, error))?;
    Ok(bytes)
}

fn labels(text: &str) -> std::result::Result<Vec<String>, NamesError> {
    let first = text.trim_start().lines().next().unwrap_or_default().trim_end();
    let inner = first.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    // A line such as `[UNK]` is a label.
    let is_label =
        |inner: &str| !inner.is_empty() && inner.chars().all(|sign| sign.is_alphabetic() || sign == '_');
    let is_list = text.trim_end().lines().count() == 1 || !inner.is_some_and(is_label);
    match is_list {
        true => names::labels(text),
        false => super::lines::labels(text).map_err(NamesError::Lines),
    }
}

/// Text of a file, whose encoding its first bytes tell; without a mark it is UTF-8, or UTF-16 where half of it is zeros.
pub(super) fn decode(bytes: &[u8]) -> std::result::Result<(String, Encoding), LabelFileError> {
    let utf16 = |bytes: &[u8], encoding| {
        let unit: fn([u8; 2]) -> u16 =
            if encoding == Encoding::Utf16Le { u16::from_le_bytes } else { u16::from_be_bytes };
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|&pair| unit(pair)).collect();
        let text = String::from_utf16(&units).ok().filter(|text| rest.is_empty() && !text.contains('\0'));
        text.map(|text| (text, encoding)).ok_or(LabelFileError::Utf16)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => return utf16(rest, Encoding::Utf16Le),
        [0xfe, 0xff, rest @ ..] => return utf16(rest, Encoding::Utf16Be),
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(encoding) = unmarked(bytes) {
        return utf16(bytes, encoding);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok((text.to_owned(), Encoding::Utf8)),
        found => {
            let zero = || bytes.iter().position(|&byte| byte == 0).unwrap_or_default();
            let byte = found.map_or_else(|error| error.valid_up_to(), |_| zero());
            let line = 1 + bytes[..byte].iter().filter(|&&byte| byte == b'\n').count();
            Err(LabelFileError::Encoding { line, byte })
        }
    }
}

/// The kind of UTF-16 that a text without a mark surely is: every other byte of its line ends and most letters is zero.
fn unmarked(bytes: &[u8]) -> Option<Encoding> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return None;
    }
    let zeros = |at: usize| pairs.iter().filter(|pair| pair[at] == 0).count();
    let most = |count: usize| 2 * count > pairs.len();
    match (zeros(0), zeros(1)) {
        (0, high) if most(high) => Some(Encoding::Utf16Le),
        (low, 0) if most(low) => Some(Encoding::Utf16Be),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const TEXT: &str = "rød\nblå\n日本\n";

    fn parsed(bytes: &[u8]) -> (Vec<String>, Encoding) {
        let file = LabelFile::parse(bytes).unwrap();
        (file.labels, file.encoding)
    }

    #[test]
    fn encodings() {
        let expected = |encoding| (["rød", "blå", "日本"].map(String::from).to_vec(), encoding);
        let le: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(parsed(TEXT.as_bytes()), expected(Encoding::Utf8));
        assert_eq!(parsed(format!("\u{feff}{TEXT}").as_bytes()), expected(Encoding::Utf8));
        for (mark, bytes, encoding) in [
            (&[0xff, 0xfe][..], &le, Encoding::Utf16Le),
            (&[0xfe, 0xff], &be, Encoding::Utf16Be),
            (&[], &le, Encoding::Utf16Le),
            (&[], &be, Encoding::Utf16Be),
        ] {
            assert_eq!(parsed(&[mark, bytes].concat()), expected(encoding));
        }
        assert_eq!(parsed(b"\xef\xbb\xbf[\"a\", \"b\"]").0, ["a", "b"]);
    }

    #[test]
    fn other_encodings_are_refused_with_the_place() {
        let error = |bytes: &[u8]| LabelFile::parse(bytes).unwrap_err();
        assert_eq!(error(b"cat\nm\xf6we\n"), LabelFileError::Encoding { line: 2, byte: 5 });
        assert_eq!(error(b"cat\nd\0g\n"), LabelFileError::Encoding { line: 2, byte: 5 });
        assert_eq!(error(b"\xff\xfec\0a"), LabelFileError::Utf16);
        assert_eq!(error(b"\xff\xfe\0\xd8a\0"), LabelFileError::Utf16);
        assert_eq!(error(&vec![b'a'; 17 << 20]), LabelFileError::TooLarge);
        assert!(matches!(error(b""), LabelFileError::Names(_)));
    }

    #[test]
    fn json_and_lines() {
        assert_eq!(parsed(b"{\"1\": \"dog\", \"0\": \"cat\"}").0, ["cat", "dog"]);
        assert_eq!(parsed(b"[\n\"cat\",\n\"dog\"\n]\n").0, ["cat", "dog"]);
        assert_eq!(parsed(b"[UNK]\ncat\ndog").0, ["[UNK]", "cat", "dog"]);
        assert!(LabelFile::parse(b"[\n\"cat\",\n\"dog\"").is_err());
        let file = LabelFile::parse(b"crane\ncat\ncrane\ncrane\n").unwrap();
        assert_eq!(file.repeated(), ["crane"]);
    }

    #[test]
    fn the_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        std::fs::write(&path, b"cat\n\ndog").unwrap();
        let error = LabelFile::read(&path).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Labels(LabelFileError::Names(_))), "{error:?}");
        let text = crate::error::chain(&error);
        assert!(text.contains("labels.txt") && text.contains("line 2 is empty"), "{text}");
        let missing = LabelFile::read(folder.path().join("none.txt")).unwrap_err();
        assert!(matches!(missing.kind(), ErrorKind::NotFound));
    }
}
