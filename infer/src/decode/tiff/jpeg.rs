//! JPEG compression in TIFF (TIFF technical note 2): every strip or tile is a JPEG of its own, with shared tables.

use image::{ImageFormat, RgbImage};

use super::super::directory::Directory;
use super::super::error::{damaged, unsupported};
use super::super::{Result, jpeg, opaque, read};
use super::PHOTOMETRIC;

/// Tags of the positions and the lengths of strips, and of tiles.
const CHUNKS: [(u16, u16); 2] = [(273, 279), (324, 325)];

const TABLES: u16 = 347;

/// Value of the photometric interpretation for RGB.
const RGB: u8 = 2;

/// Looks for damage in every strip or tile.
///
/// # Errors
/// [`DecodeError`](super::super::DecodeError)
pub(super) fn check(encoded: &[u8], directory: &Directory) -> Result<()> {
    let incomplete = || damaged(ImageFormat::Tiff, "a strip or tile is missing");
    let chunks = CHUNKS
        .iter()
        .find_map(|&(starts, lengths)| directory.numbers(starts).zip(directory.numbers(lengths)));
    let (starts, lengths) = chunks.ok_or_else(incomplete)?;
    let tables = directory.bytes(TABLES).unwrap_or(b"\xff\xd8\xff\xd9");
    let tables = tables.strip_suffix(b"\xff\xd9").unwrap_or(tables);
    for (start, length) in starts.into_iter().zip(lengths) {
        let range = usize::try_from(start).ok().zip(usize::try_from(start.saturating_add(length)).ok());
        let chunk = range.and_then(|(start, end)| encoded.get(start..end)).ok_or_else(incomplete)?;
        let chunk = chunk.strip_prefix(b"\xff\xd8").ok_or_else(incomplete)?;
        if !jpeg::check(&[tables, chunk].concat())?.is_usual {
            return Err(unsupported("TIFF", "TIFF with JPEG compression in unusual scans"));
        }
    }
    Ok(())
}

/// Decodes an image of YCbCr colours: it is decoded as if they were RGB, and converted after that.
pub(super) fn from_ycbcr(encoded: &[u8], directory: &Directory) -> Result<RgbImage> {
    let mut patched = encoded.to_vec();
    if let Some(value) = directory.position(PHOTOMETRIC) {
        patched[value] = RGB;
    }
    let mut image = opaque(read(ImageFormat::Tiff, &patched)?.0);
    for pixel in image.pixels_mut() {
        let [y, cb, cr] = pixel.0.map(f32::from);
        let (cb, cr) = (cb - 128.0, cr - 128.0);
        let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
        // The conversion saturates.
        pixel.0 = rgb.map(|value| value.round() as u8);
    }
    Ok(image)
}
