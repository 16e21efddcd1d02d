//! Reasons why an image cannot be decoded.

use std::error::Error as _;
use std::io;

use image::error::UnsupportedErrorKind;
use image::{ImageError, ImageFormat};

use super::{Error, Limits};

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
    /// The image has no pixels.
    #[error("the image has no pixels")]
    NoPixels,
    /// The bytes are not an image of a known format.
    #[error("not an image ({FORMATS})")]
    UnknownFormat,
    /// The format is known and has no decoder here.
    #[error(
        "{format} is not supported: convert it to PNG or JPEG{}",
        feature.map(|name| format!(", or build with the feature `{name}`")).unwrap_or_default()
    )]
    UnsupportedFormat {
        /// Name of the format, `HEIC`.
        format: &'static str,
        /// Feature of this crate that adds the format, if one does.
        feature: Option<&'static str>,
    },
    /// The file ends before the image does.
    #[error("the {format} ends too early: is the file complete?")]
    Truncated {
        /// Name of the format, `JPEG`.
        format: String,
    },
    /// The format has a variant that the decoder lacks.
    #[error("{kind} is not supported: convert it to PNG or JPEG")]
    Unsupported {
        /// Name of the format, `TIFF`.
        format: String,
        /// Name of the variant, `TIFF with fax compression of group 3`.
        kind: String,
    },
    /// The content contradicts the format.
    #[error("the {format} is damaged: {reason}")]
    Damaged {
        /// Name of the format, `PNG`.
        format: String,
        /// Reason that the decoder gives.
        reason: String,
    },
    /// The decoder panicked.
    #[error("the decoder gave up: {0}")]
    Panicked(String),
}

/// Name of a format in messages, `JPEG`.
pub(super) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::WebP => "WebP",
        _ => "image",
    }
}

/// Refusal of a variant of a format.
pub(super) fn unsupported(format: &str, kind: impl Into<String>) -> Error {
    DecodeError::Unsupported { format: format.into(), kind: kind.into() }.into()
}

/// Report of a damaged image.
pub(super) fn damaged(format: ImageFormat, reason: impl ToString) -> Error {
    DecodeError::Damaged { format: name(format).into(), reason: reason.to_string() }.into()
}

/// Converts the error of a decoder.
pub(super) fn from_decoder(format: ImageFormat, error: ImageError, limits: &Limits) -> Error {
    let name = name(format);
    match error {
        ImageError::Limits(_) => limits.exceeded(format!("this {name}")),
        ImageError::Unsupported(error) => unsupported(
            name,
            match error.kind() {
                UnsupportedErrorKind::GenericFeature(feature) => format!("{name} of this kind ({feature})"),
                UnsupportedErrorKind::Color(color) => format!("{name} with colours of kind {color:?}"),
                _ => format!("this kind of {name}"),
            },
        ),
        ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format: name.into() }.into()
        }
        // `ImageError` repeats its source in its own text, so the text of the source is taken instead of both.
        error => damaged(format, error.source().map_or_else(|| error.to_string(), ToString::to_string)),
    }
}
