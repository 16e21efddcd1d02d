//! Recognition of image files by their first bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use image::ImageFormat;

use crate::decode::{DecodeError, recognise};

/// Number of bytes that [`is_image`] looks at.
const HEAD: usize = 64;

/// Formats of photos that no decoder here reads.
const PHOTOS: [&str; 4] = ["AVIF", "HEIC", "JPEG 2000", "JPEG XL"];

/// Reads the first bytes of a file, and tells whether they are those of an image.
///
/// # Errors
/// Those of the system.
pub(super) fn is_image_file(path: &Path) -> io::Result<bool> {
    let mut head = Vec::with_capacity(HEAD);
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(is_image(&head))
}

/// Tells whether `head` begins an image of a format that people take photos in, decoded here or refused by its name.
fn is_image(head: &[u8]) -> bool {
    match recognise(head) {
        Ok(ImageFormat::Bmp) => is_bmp(head),
        Ok(_) => true,
        Err(DecodeError::UnsupportedFormat { feature: Some(_), .. }) => true,
        Err(DecodeError::UnsupportedFormat { format, .. }) => PHOTOS.contains(&format),
        Err(_) => false,
    }
}

/// Tells whether `head` begins a BMP: two letters alone would begin many a text, so the size of its header has to be known.
fn is_bmp(head: &[u8]) -> bool {
    let header = head.get(14..18).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    head.starts_with(b"BM") && matches!(header, Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat, RgbImage};

    use super::*;

    #[test]
    fn images_are_recognised_and_texts_are_not() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Bmp] {
            let mut bytes = Cursor::new(Vec::new());
            DynamicImage::from(RgbImage::new(2, 2)).write_to(&mut bytes, format).unwrap();
            assert!(is_image(&bytes.into_inner()[..HEAD]), "{format:?}");
        }
        let photos: [&[u8]; 4] = [
            b"\0\0\0\x18ftypheic\0\0\0\0",
            b"\0\0\0\x1cftypavif",
            b"RIFF\x24\0\0\0WEBPVP8 ",
            b"\xff\x0a\xfa",
        ];
        for photo in photos {
            assert!(is_image(photo), "{photo:?}");
        }
        let others: [&[u8]; 7] = [
            b"",
            b"BMW and other cars of this list",
            b"RIFF\x24\0\0\0WAVEfmt ",
            b"\0\0\0\x18ftypmp42",
            b"%PDF-1.7",
            b"PK\x03\x04",
            b"GIF",
        ];
        for other in others {
            assert!(!is_image(other), "{other:?}");
        }
    }
}
