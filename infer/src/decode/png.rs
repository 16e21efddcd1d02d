//! Orientation in the chunks of a PNG file.

use std::io::Read;

use flate2::read::ZlibDecoder;
use image::metadata::Orientation;

use super::orientation;

/// Longest metadata that is unpacked, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// Orientation of a PNG: in `eXIf` before or after the pixels, as ImageMagick's raw profile, or in XMP.
pub(super) fn orientation(encoded: &[u8]) -> Orientation {
    let (mut exif, mut profile, mut xmp) = (None, None, None);
    for (kind, data) in chunks(encoded) {
        match kind {
            b"eXIf" => exif = exif.or_else(|| Some(data.to_vec())),
            b"tEXt" | b"zTXt" | b"iTXt" => match text(kind, data) {
                Some((b"Raw profile type exif" | b"Raw profile type APP1", text)) => {
                    profile = from_hex(&text);
                }
                Some((b"XML:com.adobe.xmp", text)) => xmp = Some(text),
                _ => {}
            },
            _ => {}
        }
    }
    orientation::of(exif.or(profile).as_deref(), xmp.as_deref())
}

/// Types and contents of the chunks.
fn chunks(encoded: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = encoded.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_at_checked(4)?;
        let (data, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = after.get(4..)?;
        Some((kind, data))
    })
}

/// Keyword and text of a text chunk, unpacked.
fn text<'a>(kind: &[u8], data: &'a [u8]) -> Option<(&'a [u8], Vec<u8>)> {
    let (keyword, rest) = split_at_zero(data)?;
    let (is_packed, text) = match (kind, rest) {
        (b"tEXt", text) => (false, text),
        (b"zTXt", [0, text @ ..]) => (true, text),
        // After the flag and the method: the language and the translated keyword.
        (b"iTXt", [flag, _, rest @ ..]) => (*flag == 1, split_at_zero(split_at_zero(rest)?.1)?.1),
        _ => return None,
    };
    if !is_packed {
        return Some((keyword, text.to_vec()));
    }
    let mut unpacked = Vec::new();
    ZlibDecoder::new(text).take(MAX_TEXT).read_to_end(&mut unpacked).ok()?;
    Some((keyword, unpacked))
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Bytes of a raw profile: after its name and its length, hexadecimal digits with line breaks.
fn from_hex(profile: &[u8]) -> Option<Vec<u8>> {
    let mut lines = profile.trim_ascii_start().splitn(3, |&byte| byte == b'\n');
    let digits = lines.nth(2)?.iter().filter_map(|&byte| char::from(byte).to_digit(16));
    let digits: Vec<_> = digits.map(|digit| digit as u8).collect();
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
