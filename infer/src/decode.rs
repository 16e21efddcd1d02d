//! Image decoder: from the bytes of a file to an upright RGB8 image.
//!
//! The format is detected from the content, not from the name. All formats give 8 bits per channel: gray is copied to
//! the three channels, transparency is laid over white, of an animation the first frame is taken, and the EXIF
//! orientation is applied. `docs/images.md` compares the results with those of other decoders.
//!
//! An image is refused by its header, before memory is taken, when a side is longer than [`MAX_SIDE`] or its pixels need
//! more than [`MAX_BYTES`]. Truncated and damaged files are refused too. A decoder that panics is an error of its image.

mod bmp;
mod directory;
mod error;
mod format;
mod guard;
mod jpeg;
mod orientation;
mod png;
#[cfg(feature = "formats")]
mod tiff;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::{Error, ErrorKind, Result};
use crate::files;

pub use error::DecodeError;
pub(crate) use error::FORMATS;
pub(crate) use format::recognise;
pub use guard::{guard, is_guarded};

/// Longest side of an image, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// Limit for the memory of an image's pixels and for the size of its file, in bytes.
pub const MAX_BYTES: u64 = 512 << 20;

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
    guard(|| match recognise(encoded)? {
        ImageFormat::Jpeg => jpeg::decode(encoded),
        #[cfg(feature = "formats")]
        ImageFormat::Tiff => tiff::decode(encoded),
        ImageFormat::Bmp => Ok(opaque(read(ImageFormat::Bmp, &bmp::corrected(encoded)?)?.0)),
        format => {
            let (image, orientation) = read(format, encoded)?;
            Ok(upright(opaque(image), orientation))
        }
    })
}

/// Decodes an image with the crate `image`, and reads its orientation.
fn read(format: ImageFormat, encoded: &[u8]) -> Result<(DynamicImage, Orientation)> {
    let failed = |error| error::from_decoder(format, error);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(encoded), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(error::damaged(format, format_args!("its size is {width}x{height}")));
    }
    let pixels = u64::from(width) * u64::from(height);
    check_size(width, height, decoder.total_bytes().div_ceil(pixels))?;
    let orientation = match format {
        ImageFormat::Png => png::orientation(encoded),
        ImageFormat::WebP => {
            // Damaged metadata are no reason to refuse an image.
            let exif = decoder.exif_metadata().unwrap_or_default();
            orientation::of(exif.as_deref(), decoder.xmp_metadata().unwrap_or_default().as_deref())
        }
        // JPEG and TIFF have decoders of their own, GIF and BMP have no orientation.
        _ => Orientation::NoTransforms,
    };
    Ok((DynamicImage::from_decoder(decoder).map_err(failed)?, orientation))
}

/// Refuses an image whose sides or pixels exceed the limits; a pixel takes `bytes` when stored, and three as RGB8.
fn check_size(width: u32, height: u32, bytes: u64) -> Result<()> {
    let needed = bytes.max(3) * u64::from(width) * u64::from(height);
    if width.max(height) > MAX_SIDE || needed > MAX_BYTES {
        return Err(too_large(format!("{width}x{height}")));
    }
    Ok(())
}

fn upright(image: RgbImage, orientation: Orientation) -> RgbImage {
    let mut image = DynamicImage::from(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

/// Blends the image over a white background.
fn opaque(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    over_white(image, |value, alpha| (value * alpha + 255 * (255 - alpha) + 127) / 255)
}

/// Joins each colour with the alpha of its pixel, both from 0 to 255.
fn over_white(image: DynamicImage, blend: impl Fn(u32, u32) -> u32) -> RgbImage {
    let image = image.into_rgba8();
    let mut opaque = RgbImage::new(image.width(), image.height());
    for (to, from) in opaque.pixels_mut().zip(image.pixels()) {
        let [color @ .., alpha] = from.0;
        to.0 = color.map(|value| blend(value.into(), alpha.into()).min(255) as u8);
    }
    opaque
}

fn too_large(size: String) -> Error {
    let limit = format!("{MAX_SIDE} pixels a side and {} MiB", MAX_BYTES >> 20);
    ErrorKind::TooLarge { size, limit }.into()
}

#[cfg(test)]
mod tests;
