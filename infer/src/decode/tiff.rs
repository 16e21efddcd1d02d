//! TIFF decoder (TIFF 6.0), around the one of the crate `image`.
//!
//! Kinds that it lacks are refused by name. Colour tables are looked up here.

mod indexed;
mod jpeg;

use image::{ImageFormat, RgbImage};

use super::directory::Directory;
use super::error::{damaged, unsupported};
use super::{Result, opaque, orientation, over_white, read, upright};

const BITS_PER_SAMPLE: u16 = 258;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const SAMPLES_PER_PIXEL: u16 = 277;
const PLANAR: u16 = 284;
const TILE_WIDTH: u16 = 322;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;
const XMP: u16 = 700;

/// Value of `Compression` for JPEG.
const JPEG: u64 = 7;

/// Value of `ExtraSamples` for colours that are multiplied by alpha already.
const ASSOCIATED_ALPHA: u64 = 1;

/// Decodes the first image of a TIFF file.
pub(super) fn decode(encoded: &[u8]) -> Result<RgbImage> {
    let missing = || damaged(ImageFormat::Tiff, "it has no directory");
    let directory = Directory::first(encoded).ok_or_else(missing)?;
    if let Some(kind) = unknown_kind(&directory) {
        return Err(unsupported("TIFF", format!("TIFF with {kind}")));
    }
    let image = pixels(encoded, &directory)?;
    Ok(upright(image, orientation::in_directory(Some(&directory), directory.bytes(XMP))))
}

fn pixels(encoded: &[u8], directory: &Directory) -> Result<RgbImage> {
    let photometric = first(directory, PHOTOMETRIC, 0);
    if first(directory, COMPRESSION, 1) == JPEG {
        jpeg::check(encoded, directory)?;
    }
    match (photometric, first(directory, BITS_PER_SAMPLE, 1)) {
        (3, _) | (0 | 1, 2 | 4) => return indexed::decode(encoded, directory, photometric),
        (6, _) => return jpeg::from_ycbcr(encoded, directory),
        _ => {}
    }
    let (image, _) = read(ImageFormat::Tiff, encoded)?;
    match first(directory, EXTRA_SAMPLES, 0) {
        ASSOCIATED_ALPHA if image.color().has_alpha() => {
            Ok(over_white(image, |value, alpha| value + 255 - alpha))
        }
        _ => Ok(opaque(image)),
    }
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
        (1, _) | (3, 2) => {}
        (3, 0 | 1) => return Some("floating-point gray".into()),
        (3, _) => return Some("floating-point colours".into()),
        (2, _) => return Some("signed numbers".into()),
        (format, _) => return Some(format!("samples of format {format}")),
    }
    match first(directory, PHOTOMETRIC, 0) {
        0 | 1 if first(directory, SAMPLES_PER_PIXEL, 1) > 1 => Some("gray and more channels".into()),
        0 | 1 if !matches!(bits, 1 | 2 | 4 | 8 | 16) => Some(format!("gray of {bits} bits")),
        3 if !matches!(bits, 1 | 2 | 4 | 8) => Some(format!("a colour table for {bits} bits")),
        2 | 5 if !matches!(bits, 8 | 16 | 32) => Some(format!("colours of {bits} bits")),
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
