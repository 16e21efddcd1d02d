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
mod stored;
#[cfg(feature = "formats")]
mod tiff;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use crate::error::{Error, ErrorKind, Result};
use crate::files;

pub use error::DecodeError;
pub(crate) use error::FORMATS;
pub(crate) use format::recognise;
pub use guard::{guard, is_guarded};
pub use stored::Stored;

/// Longest side of an image, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// Limit for the memory of an image's pixels and for the size of its file, in bytes.
pub const MAX_BYTES: u64 = 512 << 20;

/// Limits for an image, checked by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest side, in pixels.
    pub max_side: u32,
    /// Most memory of the pixels, and largest file, in bytes.
    pub max_bytes: u64,
}

impl Default for Limits {
    /// [`MAX_SIDE`] and [`MAX_BYTES`].
    fn default() -> Self {
        Self { max_side: MAX_SIDE, max_bytes: MAX_BYTES }
    }
}

impl Limits {
    /// Refuses an image whose sides or pixels exceed the limits; a pixel takes `bytes` when stored, and three as RGB8.
    fn check(&self, width: u32, height: u32, bytes: u64) -> Result<()> {
        let needed = bytes.max(3) * u64::from(width) * u64::from(height);
        if width.max(height) > self.max_side || needed > self.max_bytes {
            return Err(self.exceeded(format!("{width}x{height}")));
        }
        Ok(())
    }

    fn exceeded(&self, size: String) -> Error {
        let limit = format!("{} pixels a side and {} MiB", self.max_side, self.max_bytes >> 20);
        ErrorKind::TooLarge { size, limit }.into()
    }
}

/// Decoded image, with its form in the file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decoded {
    /// Image as 8-bit RGB, upright.
    pub image: RgbImage,
    /// Form in the file.
    pub stored: Stored,
}

impl Decoded {
    fn new(format: ImageFormat, image: DynamicImage) -> Self {
        let stored = Stored::of(format, &image);
        Self { image: opaque(image), stored }
    }

    fn upright(self, orientation: Orientation) -> Self {
        Self { image: upright(self.image, orientation), ..self }
    }
}

/// Decodes the image file at `path`.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound), [`Io`](ErrorKind::Io), [`Decode`](ErrorKind::Decode) or
/// [`TooLarge`](ErrorKind::TooLarge), naming the file.
pub fn file(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    bytes(&encoded(path)?).map_err(|error| error.at(path))
}

/// Reads the content of the image file at `path`, up to one byte more than the [limit](MAX_BYTES), by which
/// [`bytes`](bytes()) refuses it.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) or [`Io`](ErrorKind::Io), naming the file.
pub fn encoded(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    if files::metadata(path)?.is_dir() {
        return Err(Error::io(path, io::ErrorKind::IsADirectory.into()));
    }
    let mut encoded = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut encoded))
        .map_err(|error| Error::io(path, error))?;
    Ok(encoded)
}

/// Error of a file that exceeds the [limit](MAX_BYTES).
#[cfg(feature = "data")]
pub(crate) fn bytes_too_large() -> Error {
    Limits::default().exceeded("the file".into())
}

/// Decodes an image from `encoded`, the content of a file.
///
/// # Errors
/// [`Decode`](ErrorKind::Decode) or [`TooLarge`](ErrorKind::TooLarge).
pub fn bytes(encoded: &[u8]) -> Result<RgbImage> {
    bytes_within(encoded, &Limits::default())
}

/// Decodes an image from `encoded`, the content of a file, unless it exceeds `limits`.
///
/// # Errors
/// Those of [`bytes()`].
pub fn bytes_within(encoded: &[u8], limits: &Limits) -> Result<RgbImage> {
    described(encoded, limits).map(|decoded| decoded.image)
}

/// Decodes an image from `encoded`, the content of a file, and describes its form there.
///
/// # Errors
/// Those of [`bytes()`].
pub fn described(encoded: &[u8], limits: &Limits) -> Result<Decoded> {
    if encoded.is_empty() {
        return Err(DecodeError::Empty.into());
    }
    if encoded.len() as u64 > limits.max_bytes {
        return Err(limits.exceeded("the file".into()));
    }
    guard(|| match recognise(encoded)? {
        ImageFormat::Jpeg => jpeg::decode(encoded, limits),
        #[cfg(feature = "formats")]
        ImageFormat::Tiff => tiff::decode(encoded, limits),
        format @ ImageFormat::Bmp => {
            Ok(Decoded::new(format, read(format, &bmp::corrected(encoded)?, limits)?.0))
        }
        format => {
            let (image, orientation) = read(format, encoded, limits)?;
            Ok(Decoded::new(format, image).upright(orientation))
        }
    })
}

/// Decodes an image with the crate `image`, and reads its orientation.
fn read(format: ImageFormat, encoded: &[u8], limits: &Limits) -> Result<(DynamicImage, Orientation)> {
    let failed = |error| error::from_decoder(format, error, limits);
    let mut allocation = image::Limits::no_limits();
    allocation.max_alloc = Some(limits.max_bytes);
    let mut reader = ImageReader::with_format(Cursor::new(encoded), format);
    reader.limits(allocation);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(error::damaged(format, format_args!("its size is {width}x{height}")));
    }
    let pixels = u64::from(width) * u64::from(height);
    limits.check(width, height, decoder.total_bytes().div_ceil(pixels))?;
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

#[cfg(test)]
mod tests;
