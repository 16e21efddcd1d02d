//! Recognition of image files by their first bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Number of bytes that [`is_image`] looks at.
const HEAD: usize = 32;

/// Major brands of HEIC and AVIF files (ISO/IEC 23008-12, AV1 Image File Format).
const HEIF_BRANDS: [&[u8; 4]; 10] =
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"];

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
    const SIGNATURES: [&[u8]; 11] = [
        b"\xff\xd8\xff", // JPEG
        b"\x89PNG\r\n\x1a\n",
        b"GIF87a",
        b"GIF89a",
        b"II*\0", // TIFF
        b"MM\0*",
        b"II+\0", // BigTIFF
        b"MM\0+",
        b"\0\0\0\x0cJXL \r\n\x87\n", // JPEG XL in a container
        b"\xff\x0a",                 // JPEG XL without one
        b"\0\0\0\x0cjP  \r\n\x87\n", // JPEG 2000
    ];
    let at = |start: usize, len: usize| head.get(start..start + len);
    SIGNATURES.iter().any(|signature| head.starts_with(signature))
        || head.starts_with(b"RIFF") && at(8, 4) == Some(b"WEBP")
        || at(4, 4) == Some(b"ftyp")
            && at(8, 4).is_some_and(|brand| HEIF_BRANDS.iter().any(|known| brand == *known))
        || is_bmp(head)
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
