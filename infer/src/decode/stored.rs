//! Form of an image in its file: format, channels, bits, and the range that 16-bit samples use.

use std::fmt;

use image::{ColorType, DynamicImage, ImageFormat};

use super::error;

/// Form of an image in its file, before it became 8-bit RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Format of the file.
    pub format: ImageFormat,
    /// Channels and bits of a sample. Colour tables count as RGB, and so do CMYK and YCbCr.
    pub color: ColorType,
    /// Largest sample of a 16-bit image without its alpha, from 0 to 65,535; none for other images.
    pub largest: Option<u16>,
}

impl Stored {
    pub(super) fn new(format: ImageFormat, color: ColorType) -> Self {
        Self { format, color, largest: None }
    }

    pub(super) fn of(format: ImageFormat, image: &DynamicImage) -> Self {
        let largest = match image {
            DynamicImage::ImageLuma16(image) => image.iter().max().copied(),
            DynamicImage::ImageRgb16(image) => image.iter().max().copied(),
            DynamicImage::ImageLumaA16(image) => image.pixels().map(|pixel| pixel.0[0]).max(),
            DynamicImage::ImageRgba16(image) => {
                image.pixels().map(|pixel| pixel.0[0].max(pixel.0[1]).max(pixel.0[2])).max()
            }
            _ => None,
        };
        Self { format, color: image.color(), largest }
    }

    /// Name of the format, such as `JPEG`.
    pub fn format_name(&self) -> &'static str {
        error::name(self.format)
    }

    /// Tells whether the file has one channel of colour.
    pub fn is_gray(&self) -> bool {
        !self.color.has_color()
    }
}

/// Writes `gray`, `RGB 16 bits` or `RGB with alpha`.
impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colours = if self.is_gray() { "gray" } else { "RGB" };
        let alpha = if self.color.has_alpha() { " with alpha" } else { "" };
        write!(f, "{colours}{alpha}")?;
        let channels = u16::from(self.color.channel_count());
        match self.color.bits_per_pixel() / channels {
            8 => Ok(()),
            bits => write!(f, " {bits} bits"),
        }
    }
}
