//! From the bytes of an image to RGB8, upright.
//!
//! The format is what the content says, whatever the file is called. Every format becomes the same: 8 bits per
//! channel, gray repeated over the channels, transparency laid over white, the first frame of an animation, turned
//! upright as the EXIF orientation says.
//!
//! An image is refused from its header, before memory is taken, when a side is longer than [`MAX_SIDE`] or its
//! pixels fill more than [`MAX_BYTES`]; a file without its end is refused too, rather than classified half gray.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::{Error, Result};
use crate::files;

/// Longest side of an image, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// Most memory for the pixels of an image, and the largest file, in bytes.
pub const MAX_BYTES: u64 = 512 << 20;

/// The image in the file at `path`.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`], [`Error::Decode`] or [`Error::TooLarge`], naming the file.
pub fn file(path: &Path) -> Result<RgbImage> {
    if files::metadata(path)?.is_dir() {
        return Err(Error::io(path, io::ErrorKind::IsADirectory.into()));
    }
    let mut encoded = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut encoded))
        .map_err(|error| Error::io(path, error))?;
    bytes(&encoded).map_err(|error| error.at(path))
}

/// The image in `encoded`, the content of a file.
///
/// # Errors
/// [`Error::Decode`] or [`Error::TooLarge`].
pub fn bytes(encoded: &[u8]) -> Result<RgbImage> {
    if encoded.is_empty() {
        return Err(refused("the file is empty"));
    }
    if encoded.len() as u64 > MAX_BYTES {
        return Err(too_large("the file".into()));
    }
    let reader = ImageReader::new(Cursor::new(encoded)).with_guessed_format();
    let mut reader = reader.map_err(|error| refused(error.to_string()))?;
    let Some(format) = reader.format() else {
        return Err(refused("not an image (JPEG, PNG, GIF, BMP, TIFF or WebP)"));
    };
    // The decoder has every format's own checks, but libjpeg's habit of filling up a missing rest with gray.
    if format == ImageFormat::Jpeg && !jpeg_is_complete(encoded) {
        return Err(refused("the JPEG ends too early: is the file complete?"));
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);

    let broken = |error| decoding(format, error);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    // As it is stored, and as RGB8, which is more for black and white.
    let bytes = decoder.total_bytes().max(3 * u64::from(width) * u64::from(height));
    if width.max(height) > MAX_SIDE || bytes > MAX_BYTES {
        return Err(too_large(format!("{width}x{height}")));
    }
    // An image is worth more than its damaged EXIF block.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(opaque(image))
}

/// Lays the image over white.
fn opaque(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    let mut opaque = RgbImage::new(image.width(), image.height());
    for (to, from) in opaque.pixels_mut().zip(image.pixels()) {
        let [color @ .., alpha] = from.0;
        let alpha = u32::from(alpha);
        to.0 = color.map(|value| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8);
    }
    opaque
}

/// Whether the segments of a JPEG lead to its end-of-image marker.
///
/// The walk skips each segment by its length, so that the marker of a thumbnail inside one does not count
/// (ITU-T T.81, annex B).
fn jpeg_is_complete(encoded: &[u8]) -> bool {
    const START_OF_IMAGE: u8 = 0xd8;
    const END_OF_IMAGE: u8 = 0xd9;
    const STUFFED: u8 = 0x00;
    let mut at = 0;
    while let Some(&[prefix, marker]) = encoded.get(at..at + 2) {
        match (prefix, marker) {
            (0xff, END_OF_IMAGE) => return true,
            (0xff, START_OF_IMAGE | STUFFED | 0x01 | 0xd0..=0xd7) => at += 2,
            (0xff, 0xff) => at += 1,
            (0xff, _) => match encoded.get(at + 2..at + 4) {
                Some(length) => at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return false,
            },
            _ => match encoded[at..].iter().position(|&byte| byte == 0xff) {
                Some(entropy_coded) => at += entropy_coded,
                None => return false,
            },
        }
    }
    false
}

fn refused(reason: impl Into<String>) -> Error {
    Error::Decode { path: None, reason: reason.into() }
}

fn too_large(size: String) -> Error {
    let limit = format!("{MAX_SIDE} pixels a side and {} MiB", MAX_BYTES >> 20);
    Error::TooLarge { path: None, size, limit }
}

fn decoding(format: ImageFormat, error: ImageError) -> Error {
    let name = format.extensions_str().first().map_or_else(|| "image".into(), |name| name.to_uppercase());
    match error {
        ImageError::Limits(_) => too_large(format!("this {name}")),
        ImageError::Unsupported(_) => {
            refused(format!("this kind of {name} is not supported: convert it to PNG or JPEG"))
        }
        ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            refused(format!("the {name} ends too early: is the file complete?"))
        }
        error => {
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            refused(format!("the {name} is damaged: {cause}"))
        }
    }
}

#[cfg(test)]
mod tests;
