//! Table of a list: encoding, separator and columns.

use std::borrow::Cow;

use csv::{ByteRecord, ReaderBuilder, Trim};

use super::ListErrorKind;
use crate::escape;
use crate::image_folder::Split;

/// Fields of a line.
pub(crate) struct Row<'a> {
    pub path: &'a [u8],
    pub label: &'a [u8],
    pub split: Option<&'a [u8]>,
}

/// Content of a list, with its separator and columns.
pub(crate) struct Table<'a> {
    bytes: Cow<'a, [u8]>,
    separator: u8,
    columns: Columns,
}

#[derive(Debug, Clone, Copy)]
struct Columns {
    path: usize,
    label: usize,
    split: Option<usize>,
    count: usize,
    has_header: bool,
}

impl<'a> Table<'a> {
    /// Finds the encoding, separator and columns of a list.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ListErrorKind> {
        let bytes = utf8(bytes)?;
        let first = |separator| {
            let mut record = ByteRecord::new();
            let read = reader(&bytes, separator).read_byte_record(&mut record);
            if read.unwrap_or(false) { Some(record) } else { None }
        };
        for separator in [b',', b'\t', b';'] {
            let Some(record) = first(separator) else { return Err(ListErrorKind::Empty) };
            if let Some(columns) = Columns::of_header(&record) {
                return Ok(Self { bytes, separator, columns });
            }
        }
        for separator in [b',', b'\t'] {
            if let Some(columns) = first(separator).and_then(|record| Columns::without_header(&record)) {
                return Ok(Self { bytes, separator, columns });
            }
        }
        let line = bytes
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .find(|line| !line.is_empty())
            .unwrap_or_default();
        let line: String = String::from_utf8_lossy(line).chars().take(80).collect();
        Err(ListErrorKind::NoColumns { found: escape::name(&line).into_owned() })
    }

    /// Calls `see` with each row and its line, counted from 1; blank rows are left out.
    ///
    /// # Errors
    /// The error of `see`, or of a row that does not fit the first, with the line.
    pub fn each(
        &self,
        mut see: impl FnMut(u64, Row<'_>) -> Result<(), ListErrorKind>,
    ) -> Result<(), (u64, ListErrorKind)> {
        let Columns { path, label, split, count, has_header } = self.columns;
        let mut lines = Lines { bytes: &self.bytes, at: 0, line: 1 };
        let mut records = reader(&self.bytes, self.separator);
        let mut record = ByteRecord::new();
        let mut is_header = has_header;
        // Reading from memory cannot fail.
        while records.read_byte_record(&mut record).unwrap_or(false) {
            let line = lines.line_at(record.position().map_or(0, csv::Position::byte) as usize);
            if std::mem::take(&mut is_header) || record.iter().all(<[u8]>::is_empty) {
                continue;
            }
            if record.len() != count {
                return Err((line, ListErrorKind::Fields { found: record.len(), expected: count }));
            }
            if record.iter().any(|field| field.iter().any(|byte| matches!(byte, b'\n' | b'\r'))) {
                return Err((line, ListErrorKind::SpansLines));
            }
            let row =
                Row { path: &record[path], label: &record[label], split: split.map(|split| &record[split]) };
            see(line, row).map_err(|kind| (line, kind))?;
        }
        Ok(())
    }
}

/// Counter of lines. The reader's own count is that of the blank lines before a record.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// Line of the record that begins at `start`, or after the line ends there.
    fn line_at(&mut self, start: usize) -> u64 {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let blank = self.bytes[start..].iter().take_while(|byte| is_end(byte)).count();
        let passed = &self.bytes[self.at..start + blank];
        // A line ends with LF, CR or both.
        let lone = passed.windows(2).filter(|pair| pair[0] == b'\r' && pair[1] != b'\n').count();
        let last = usize::from(passed.last() == Some(&b'\r'));
        self.line += (passed.iter().filter(|&&byte| byte == b'\n').count() + lone + last) as u64;
        self.at = start + blank;
        self.line
    }
}

impl Columns {
    /// Finds the columns by the names in the first line, in any case.
    fn of_header(header: &ByteRecord) -> Option<Self> {
        let names: Vec<_> =
            header.iter().map(|name| String::from_utf8_lossy(name).trim().to_lowercase()).collect();
        let find =
            |known: &[&str]| known.iter().find_map(|known| names.iter().position(|name| name == known));
        Some(Self {
            path: find(&PATH)?,
            label: find(&LABEL)?,
            split: find(&SPLIT),
            count: names.len(),
            has_header: true,
        })
    }

    /// Takes the first line as an image: two fields, or three of which the last is a split.
    fn without_header(first: &ByteRecord) -> Option<Self> {
        let fields: Vec<_> =
            first.iter().map(|field| String::from_utf8_lossy(field).trim().to_lowercase()).collect();
        let named = |known: &[&str]| fields.iter().any(|field| known.contains(&field.as_str()));
        let split = match &fields[..] {
            // A header that names one column only.
            _ if named(&PATH) || named(&LABEL[..3]) => return None,
            [_, _] => None,
            [_, _, split] if split.parse::<Split>().is_ok() => Some(2),
            _ => return None,
        };
        Some(Self { path: 0, label: 1, split, count: fields.len(), has_header: false })
    }
}

/// Tells whether the only field of a header names the column of paths.
pub(crate) fn is_path_header(field: &str) -> bool {
    PATH.contains(&field.trim().to_lowercase().as_str())
}

/// Names of the columns, preferred ones first.
const PATH: [&str; 8] =
    ["path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"];
const LABEL: [&str; 8] = ["label", "labels", "class", "classes", "class_name", "category", "target", "tags"];
const SPLIT: [&str; 5] = ["split", "subset", "set", "partition", "usage"];

fn reader(bytes: &[u8], separator: u8) -> csv::Reader<&[u8]> {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(separator).has_headers(false).flexible(true).trim(Trim::All).from_reader(bytes)
}

/// Converts a list to UTF-8 by its mark. Without one it stays as it is, since paths may be in any encoding.
fn utf8(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ListErrorKind> {
    let utf16 = |bytes: &[u8], read: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|pair| pair.try_into().map_or(0xfffd, read));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map(|text| Cow::Owned(text.into_bytes())).map_err(|_| ListErrorKind::NotAList)
    };
    match bytes {
        [0xef, 0xbb, 0xbf, text @ ..] => Ok(text.into()),
        [0xff, 0xfe, text @ ..] => utf16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf16(text, u16::from_be_bytes),
        _ if bytes.contains(&0) => Err(ListErrorKind::NotAList),
        _ => Ok(bytes.into()),
    }
}
