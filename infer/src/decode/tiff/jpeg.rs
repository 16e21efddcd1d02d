//! JPEG compression in TIFF (TIFF technical note 2): every strip or tile is a JPEG of its own, with shared tables.

use image::{ImageFormat, RgbImage};

use super::super::directory::Directory;
use super::super::error::{damaged, unsupported};
use super::super::{Limits, Result, jpeg, opaque, read};
use super::{PHOTOMETRIC, chunks};

const TABLES: u16 = 347;

/// Value of the photometric interpretation for RGB.
const RGB: u8 = 2;

/// Looks for damage in every strip or tile.
///
/// # Errors
/// [`DecodeError`](super::super::DecodeError)
pub(super) fn check(encoded: &[u8], directory: &Directory, limits: &Limits) -> Result<()> {
    let tables = directory.bytes(TABLES).unwrap_or(b"\xff\xd8\xff\xd9");
    let tables = tables.strip_suffix(b"\xff\xd9").unwrap_or(tables);
    for chunk in chunks(encoded, directory)? {
        let chunk = encoded[chunk].strip_prefix(b"\xff\xd8");
        let chunk = chunk.ok_or_else(|| damaged(ImageFormat::Tiff, "a strip or tile is no JPEG"))?;
        if !jpeg::check(&[tables, chunk].concat(), limits)?.is_usual {
            return Err(unsupported("TIFF", "TIFF with JPEG compression in unusual scans"));
        }
    }
    Ok(())
}

/// Decodes an image of YCbCr colours: it is decoded as if they were RGB, and converted after that.
pub(super) fn from_ycbcr(encoded: &[u8], directory: &Directory, limits: &Limits) -> Result<RgbImage> {
    let mut patched = encoded.to_vec();
    if let Some(value) = directory.position(PHOTOMETRIC) {
        patched[value] = RGB;
    }
    let mut image = opaque(read(ImageFormat::Tiff, &patched, limits)?.0);
    for pixel in image.pixels_mut() {
        let [y, cb, cr] = pixel.0.map(f32::from);
        let (cb, cr) = (cb - 128.0, cr - 128.0);
        let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
        // The conversion saturates.
        pixel.0 = rgb.map(|value| value.round() as u8);
    }
    Ok(image)
}
