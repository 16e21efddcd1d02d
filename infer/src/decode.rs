//! Image decoder: from the bytes of a file to an upright RGB8 image.
//!
//! The format is detected from the content, not from the name. All formats give 8 bits per channel: gray is copied to
//! the three channels, transparency is laid over white, of an animation the first frame is taken, and the EXIF
//! orientation is applied.
//!
//! An image is refused by its header, before memory is taken, when a side is longer than [`MAX_SIDE`] or its pixels need
//! more than [`MAX_BYTES`]. A truncated file is refused too.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::{Error, ErrorKind, Result};
use crate::files;

/// Longest side of an image, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// Limit for the memory of an image's pixels and for the size of its file, in bytes.
pub const MAX_BYTES: u64 = 512 << 20;

/// Names of the formats that are decoded.
pub(crate) const FORMATS: &str =
    if cfg!(feature = "formats") { "JPEG, PNG, GIF, BMP, TIFF or WebP" } else { "JPEG, PNG or BMP" };

/// Reason why bytes cannot be decoded as an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// The bytes are not an image of a known format.
    #[error("not an image ({FORMATS})")]
    UnknownFormat,
    /// The file ends before the image does.
    #[error("the {format} ends too early: is the file complete?")]
    Truncated {
        /// Name of the format, `JPEG`.
        format: String,
    },
    /// The format has a variant that the decoder lacks.
    #[error("this kind of {format} is not supported: convert it to PNG or JPEG")]
    Unsupported {
        /// Name of the format, `TIFF`.
        format: String,
    },
    /// The content contradicts the format.
    #[error("the {format} is damaged: {reason}")]
    Damaged {
        /// Name of the format, `PNG`.
        format: String,
        /// Reason that the decoder gives.
        reason: String,
    },
    /// The decoder panicked, which a caller caught.
    #[error("the decoder gave up: {0}")]
    Panicked(String),
}

/// Decodes the image file at `path`.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound), [`Io`](ErrorKind::Io), [`Decode`](ErrorKind::Decode) or
/// [`TooLarge`](ErrorKind::TooLarge), naming the file.
pub fn file(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    if files::metadata(path)?.is_dir() {
        return Err(Error::io(path, io::ErrorKind::IsADirectory.into()));
    }
    let mut encoded = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut encoded))
        .map_err(|error| Error::io(path, error))?;
    bytes(&encoded).map_err(|error| error.at(path))
}

/// Decodes an image from `encoded`, the content of a file.
///
/// # Errors
/// [`Decode`](ErrorKind::Decode) or [`TooLarge`](ErrorKind::TooLarge).
pub fn bytes(encoded: &[u8]) -> Result<RgbImage> {
    if encoded.is_empty() {
        return Err(DecodeError::Empty.into());
    }
    if encoded.len() as u64 > MAX_BYTES {
        return Err(too_large("the file".into()));
    }
    let format = image::guess_format(encoded).map_err(|_| DecodeError::UnknownFormat)?;
    // The decoders check everything but this: libjpeg's habit of filling a missing rest with gray.
    if format == ImageFormat::Jpeg && !jpeg_is_complete(encoded) {
        return Err(DecodeError::Truncated { format: name(format) }.into());
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(encoded), format);
    reader.limits(limits);

    let failed = |error| decode_error(format, error);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    // The larger of the stored size and the RGB8 size: black and white is smaller when stored.
    let bytes = decoder.total_bytes().max(3 * u64::from(width) * u64::from(height));
    if width.max(height) > MAX_SIDE || bytes > MAX_BYTES {
        return Err(too_large(format!("{width}x{height}")));
    }
    // A damaged EXIF block is no reason to refuse the image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    Ok(opaque(image))
}

/// Blends the image over a white background.
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

/// Tells whether the segments of a JPEG lead to its end-of-image marker (ITU-T T.81, annex B).
///
/// Each segment is skipped by its length, so that the end marker of an embedded thumbnail does not count.
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

fn too_large(size: String) -> Error {
    let limit = format!("{MAX_SIDE} pixels a side and {} MiB", MAX_BYTES >> 20);
    ErrorKind::TooLarge { size, limit }.into()
}

/// Name of a format in messages, `JPG`.
fn name(format: ImageFormat) -> String {
    match format {
        ImageFormat::Jpeg => "JPEG".into(),
        format => format.extensions_str().first().map_or_else(|| "image".into(), |name| name.to_uppercase()),
    }
}

fn decode_error(format: ImageFormat, error: ImageError) -> Error {
    let format = name(format);
    let error = match error {
        ImageError::Limits(_) => return too_large(format!("this {format}")),
        ImageError::Unsupported(_) => DecodeError::Unsupported { format },
        ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
        }
        // `ImageError` repeats its source in its own text, so the text of the source is taken instead of both.
        error => {
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            DecodeError::Damaged { format, reason }
        }
    };
    error.into()
}

#[cfg(test)]
mod tests;
