//! Orientation of an image, from its EXIF block or its XMP packet.

use image::metadata::Orientation;

use super::directory::Directory;

/// EXIF tag of the orientation, in TIFF files too.
const TAG: u16 = 0x0112;

/// Orientation that the metadata give. XMP counts where EXIF says nothing, as in Pillow.
///
/// Damaged metadata are no reason to refuse an image.
pub(super) fn of(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let mut exif = exif.unwrap_or_default();
    // In WebP and PNG the prefix of JPEG is wrong and common.
    while let Some(rest) = exif.strip_prefix(b"Exif\0\0") {
        exif = rest;
    }
    in_directory(Directory::first(exif).as_ref(), xmp)
}

/// Orientation that a directory gives, or else the XMP packet.
pub(super) fn in_directory(directory: Option<&Directory>, xmp: Option<&[u8]>) -> Orientation {
    let number = directory.and_then(|directory| directory.number(TAG));
    let number = number.or_else(|| from_xmp(xmp?).map(u64::from)).and_then(|number| number.try_into().ok());
    number.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Orientation in an XMP packet, `tiff:Orientation="6"` or `<tiff:Orientation>6`.
fn from_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = xmp.windows(NAME.len()).position(|window| window == NAME)?;
    match xmp[at + NAME.len()..] {
        [b'=', b'"', digit @ b'1'..=b'8', ..] | [b'>', digit @ b'1'..=b'8', ..] => Some(digit - b'0'),
        _ => None,
    }
}
