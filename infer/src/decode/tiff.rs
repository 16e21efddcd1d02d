//! TIFF decoder (TIFF 6.0), around the one of the crate `image`.
//!
//! Kinds that it lacks are refused by name. Colour tables are looked up here.

mod indexed;
mod jpeg;

use std::ops::Range;

use image::{ColorType, ImageFormat};

use super::directory::Directory;
use super::error::{damaged, unsupported};
use super::{Decoded, Limits, Result, Stored, orientation, over_white, read};

const BITS_PER_SAMPLE: u16 = 258;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
const SAMPLES_PER_PIXEL: u16 = 277;
const PLANAR: u16 = 284;
const STRIP_OFFSETS: u16 = 273;
const STRIP_BYTE_COUNTS: u16 = 279;
const TILE_WIDTH: u16 = 322;
const TILE_OFFSETS: u16 = 324;
const TILE_BYTE_COUNTS: u16 = 325;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;
const XMP: u16 = 700;

/// Value of `Compression` for LZW.
const LZW: u64 = 5;

/// Value of `Compression` for JPEG.
const JPEG: u64 = 7;

/// Value of `ExtraSamples` for colours that are multiplied by alpha already.
const ASSOCIATED_ALPHA: u64 = 1;

/// Decodes the first image of a TIFF file.
pub(super) fn decode(encoded: &[u8], limits: &Limits) -> Result<Decoded> {
    let missing = || damaged(ImageFormat::Tiff, "it has no directory");
    let directory = Directory::first(encoded).ok_or_else(missing)?;
    if let Some(kind) = unknown_kind(&directory) {
        return Err(unsupported("TIFF", format!("TIFF with {kind}")));
    }
    if first(&directory, COMPRESSION, 1) == LZW
        && chunks(encoded, &directory)?.first().is_some_and(|chunk| is_old_lzw(&encoded[chunk.clone()]))
    {
        return Err(unsupported("TIFF", "TIFF with old-style LZW compression"));
    }
    let image = if first(&directory, FILL_ORDER, 1) == 2 && first(&directory, COMPRESSION, 1) != JPEG {
        pixels(&with_bits_reversed(encoded, &directory)?, &directory, limits)?
    } else {
        pixels(encoded, &directory, limits)?
    };
    Ok(image.upright(orientation::in_directory(Some(&directory), directory.bytes(XMP))))
}

fn pixels(encoded: &[u8], directory: &Directory, limits: &Limits) -> Result<Decoded> {
    let photometric = first(directory, PHOTOMETRIC, 0);
    if first(directory, COMPRESSION, 1) == JPEG {
        jpeg::check(encoded, directory, limits)?;
    }
    let decoded = |image, color| Decoded { image, stored: Stored::new(ImageFormat::Tiff, color) };
    match (photometric, first(directory, BITS_PER_SAMPLE, 1)) {
        (3, _) | (0 | 1, 2 | 4) => {
            let image = indexed::decode(encoded, directory, photometric, limits)?;
            return Ok(decoded(image, if photometric == 3 { ColorType::Rgb8 } else { ColorType::L8 }));
        }
        (6, _) => return Ok(decoded(jpeg::from_ycbcr(encoded, directory, limits)?, ColorType::Rgb8)),
        _ => {}
    }
    let (image, _) = read(ImageFormat::Tiff, encoded, limits)?;
    if let Some(samples) = image.as_flat_samples_f32()
        && !samples.samples.iter().all(|sample| (0.0..=1.0).contains(sample))
    {
        return Err(unsupported("TIFF", "TIFF with floating-point colours that are not between 0 and 1"));
    }
    match first(directory, EXTRA_SAMPLES, 0) {
        ASSOCIATED_ALPHA if image.color().has_alpha() => {
            let stored = Stored::of(ImageFormat::Tiff, &image);
            Ok(Decoded { image: over_white(image, |value, alpha| value + 255 - alpha), stored })
        }
        _ => Ok(Decoded::new(ImageFormat::Tiff, image)),
    }
}

/// Positions of the strips or tiles.
///
/// # Errors
/// [`DecodeError`](super::DecodeError) if one lies outside of the file.
fn chunks(encoded: &[u8], directory: &Directory) -> Result<Vec<Range<usize>>> {
    let range = |(start, length): (u64, u64)| {
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(start.checked_add(length)?).ok()?);
        (end <= encoded.len()).then_some(start..end)
    };
    let tags = [(STRIP_OFFSETS, STRIP_BYTE_COUNTS), (TILE_OFFSETS, TILE_BYTE_COUNTS)];
    let chunks = tags.iter().find_map(|&(starts, lengths)| {
        let chunks = directory.numbers(starts)?.into_iter().zip(directory.numbers(lengths)?);
        chunks.map(range).collect::<Option<Vec<_>>>()
    });
    chunks.ok_or_else(|| damaged(ImageFormat::Tiff, "a strip or tile is missing"))
}

/// Copy whose strips or tiles have the first bit of each byte at the top.
fn with_bits_reversed(encoded: &[u8], directory: &Directory) -> Result<Vec<u8>> {
    let mut reversed = encoded.to_vec();
    for chunk in chunks(encoded, directory)? {
        reversed[chunk].iter_mut().for_each(|byte| *byte = byte.reverse_bits());
    }
    Ok(reversed)
}

/// Tells whether LZW data has the bits of its codes in the other order, as before TIFF 6.0.
///
/// The data begins with the code 256.
fn is_old_lzw(data: &[u8]) -> bool {
    matches!(*data, [0, second, ..] if second & 1 == 1)
}

/// First value of `tag`, or `default`.
fn first(directory: &Directory, tag: u16, default: u64) -> u64 {
    directory.numbers(tag).and_then(|all| all.first().copied()).unwrap_or(default)
}

/// Name of a kind that no decoder here reads.
fn unknown_kind(directory: &Directory) -> Option<String> {
    let compression = first(directory, COMPRESSION, 1);
    let bits = first(directory, BITS_PER_SAMPLE, 1);
    if !matches!(compression, 1 | 4 | 5 | 7 | 8 | 32_773 | 32_946) {
        return Some(compression_name(compression));
    }
    if first(directory, PLANAR, 1) == 2 && directory.numbers(TILE_WIDTH).is_some() {
        return Some("tiles of one channel".into());
    }
    match (first(directory, SAMPLE_FORMAT, 1), first(directory, PHOTOMETRIC, 0)) {
        (1 | 4, _) | (3, 2) => {}
        (3, 0 | 1) => return Some("floating-point gray".into()),
        (3, _) => return Some("floating-point colours".into()),
        (2, _) => return Some("signed numbers".into()),
        (format, _) => return Some(format!("samples of format {format}")),
    }
    match first(directory, PHOTOMETRIC, 0) {
        0 | 1 if first(directory, SAMPLES_PER_PIXEL, 1) > 1 => Some("gray and more channels".into()),
        0 | 1 if !matches!(bits, 1 | 2 | 4 | 8 | 16) => Some(format!("gray of {bits} bits")),
        3 if first(directory, SAMPLES_PER_PIXEL, 1) > 1 => Some("a colour table and more channels".into()),
        3 if !matches!(bits, 1 | 2 | 4 | 8) => Some(format!("a colour table for {bits} bits")),
        2 if bits == 32 && first(directory, SAMPLE_FORMAT, 1) == 3 => None,
        2 | 5 if !matches!(bits, 8 | 16) => Some(format!("colours of {bits} bits")),
        6 if compression != JPEG => Some("YCbCr colours that are not compressed as JPEG".into()),
        0..=3 | 5 | 6 => None,
        4 => Some("a transparency mask".into()),
        8..=10 => Some("L*a*b* colours".into()),
        32_803 => Some("colours of a raw sensor".into()),
        32_844 | 32_845 => Some("LogLuv colours".into()),
        other => Some(format!("colours of kind {other}")),
    }
}

fn compression_name(compression: u64) -> String {
    let name = match compression {
        2 => "modified Huffman",
        3 => "fax group 3",
        6 => "old-style JPEG",
        32_809 => "ThunderScan",
        33_003 | 33_005 | 34_712 => "JPEG 2000",
        34_661 => "JBIG",
        34_676 | 34_677 => "SGI LogLuv",
        34_887 => "LERC",
        34_925 => "LZMA",
        50_000 => "Zstandard",
        50_001 => "WebP",
        50_002 | 52_546 => "JPEG XL",
        other => return format!("compression of kind {other}"),
    };
    format!("{name} compression")
}
