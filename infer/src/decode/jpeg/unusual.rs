//! Decoder for JPEGs that `zune-jpeg` gets wrong: `jpeg-decoder`.

use image::{ImageFormat, RgbImage};
use jpeg_decoder::{Decoder, PixelFormat};

use super::super::error::{damaged, unsupported};
use super::super::{Limits, Result};

/// Decodes a JPEG without turning it upright.
pub(super) fn decode(encoded: &[u8], limits: &Limits) -> Result<RgbImage> {
    let failed = |error: jpeg_decoder::Error| damaged(ImageFormat::Jpeg, error);
    let mut decoder = Decoder::new(encoded);
    decoder.set_max_decoding_buffer_size(limits.max_bytes as usize);
    let pixels = decoder.decode().map_err(failed)?;
    let info = decoder.info().ok_or_else(|| damaged(ImageFormat::Jpeg, "it has no frame"))?;
    let rgb = match info.pixel_format {
        PixelFormat::RGB24 => pixels,
        PixelFormat::L8 => pixels.iter().flat_map(|&value| [value; 3]).collect(),
        PixelFormat::CMYK32 => pixels.as_chunks().0.iter().flat_map(from_cmyk).collect(),
        PixelFormat::L16 => return Err(unsupported("JPEG", "JPEG with 16 bits per sample")),
    };
    let image = RgbImage::from_raw(info.width.into(), info.height.into(), rgb);
    image.ok_or_else(|| damaged(ImageFormat::Jpeg, "pixels are missing"))
}

/// Converts ink, 255 for all of it, to RGB.
fn from_cmyk(&[inks @ .., black]: &[u8; 4]) -> [u8; 3] {
    inks.map(|ink| ((255 - u32::from(ink)) * (255 - u32::from(black)) + 127).div_euclid(255) as u8)
}
