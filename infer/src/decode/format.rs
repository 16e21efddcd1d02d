//! Formats of images, known from their first bytes.

use image::ImageFormat;

use super::error::DecodeError;

/// Format of the image in `encoded`.
///
/// # Errors
/// [`DecodeError::UnsupportedFormat`] names a format without a decoder, [`DecodeError::UnknownFormat`] is all else.
pub(crate) fn recognise(encoded: &[u8]) -> Result<ImageFormat, DecodeError> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let format = match encoded {
        [0xff, 0xd8, 0xff, ..] => Jpeg,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => WebP,
        _ if encoded.starts_with(b"\x89PNG\r\n\x1a\n") => Png,
        _ if starts_with_any(encoded, &[b"GIF87a", b"GIF89a"]) => Gif,
        // Classic TIFF and BigTIFF, in both byte orders.
        _ if starts_with_any(encoded, &[b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]) => Tiff,
        _ if encoded.starts_with(b"BM") => Bmp,
        _ => return Err(other(encoded)),
    };
    if !cfg!(feature = "formats") && matches!(format, Gif | Tiff | WebP) {
        let format = super::error::name(format);
        return Err(DecodeError::UnsupportedFormat { format, feature: Some("formats") });
    }
    Ok(format)
}

fn starts_with_any(encoded: &[u8], beginnings: &[&[u8]]) -> bool {
    beginnings.iter().any(|beginning| encoded.starts_with(beginning))
}

/// Formats that other programs read, by their first bytes.
const OTHERS: &[(&[u8], &str)] = &[
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "PSD"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"icns", "ICNS"),
    (b"farbfeld", "farbfeld"),
    (b"\x01\xda", "SGI"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"SIMPLE  =", "FITS"),
    (b"DanM", "MSP"),
    (b"LinS", "MSP"),
    (b"BLP1", "BLP"),
    (b"BLP2", "BLP"),
    (b"/* XPM */", "XPM"),
    (b"\x8aMNG", "MNG"),
    (b"II\xbc", "JPEG XR"),
    (b"gimp xcf", "XCF"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"<svg", "SVG"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"Image type:", "IM"),
    (b"\x80\xe8\0\0", "PIXAR"),
    (b"PF\n", "PFM"),
    (b"Pf\n", "PFM"),
];

/// Text formats, by their first bytes and a word near the beginning.
const TEXTS: &[(&[u8], &[u8], &str)] = &[(b"<?xml", b"<svg", "SVG"), (b"#define ", b"_width", "XBM")];

/// Error for bytes that no decoder here reads.
fn other(encoded: &[u8]) -> DecodeError {
    let named = OTHERS.iter().find(|(beginning, _)| encoded.starts_with(beginning)).map(|&(_, name)| name);
    let named = named.or_else(|| container(encoded)).or_else(|| netpbm(encoded));
    match named.or_else(|| text(encoded)).or_else(|| by_header(encoded)) {
        Some(format) => DecodeError::UnsupportedFormat { format, feature: None },
        None => DecodeError::UnknownFormat,
    }
}

/// Format of an ISO base media file (ISO/IEC 14496-12), from the brands in its first box.
fn container(encoded: &[u8]) -> Option<&'static str> {
    let (length, rest) = encoded.split_first_chunk()?;
    let brands = rest.strip_prefix(b"ftyp")?;
    let brands = &brands[..brands.len().min((u32::from_be_bytes(*length) as usize).saturating_sub(8))];
    let (brands, _) = brands.as_chunks::<4>();
    let is_any = |known: &[&[u8; 4]]| brands.iter().any(|brand| known.contains(&brand));
    Some(if is_any(&[b"avif", b"avis"]) {
        "AVIF"
    } else if is_any(&[
        b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1",
    ]) {
        "HEIC"
    } else if is_any(&[b"crx "]) {
        "CR3"
    } else {
        "video"
    })
}

/// Format of a Netpbm file: `P` and a digit, followed by white space.
fn netpbm(encoded: &[u8]) -> Option<&'static str> {
    match encoded {
        [b'P', b'1'..=b'7', white, ..] if white.is_ascii_whitespace() => Some("Netpbm"),
        _ => None,
    }
}

/// Format of a text, from [`TEXTS`].
fn text(encoded: &[u8]) -> Option<&'static str> {
    let near = &encoded[..encoded.len().min(1000)];
    let has = |word: &[u8]| near.windows(word.len()).any(|window| window == word);
    TEXTS.iter().find(|(start, word, _)| near.starts_with(start) && has(word)).map(|&(_, _, name)| name)
}

/// Format whose header has no clear signature, or has it elsewhere.
fn by_header(encoded: &[u8]) -> Option<&'static str> {
    for (at, signature, name) in [(20, &b"GIMP"[..], "GBR"), (2048, b"PCD_", "PCD")] {
        if encoded.get(at..).is_some_and(|rest| rest.starts_with(signature)) {
            return Some(name);
        }
    }
    match *encoded.first_chunk::<18>()? {
        [_, _, _, _, 0x11 | 0x12, 0xaf, ..] => Some("FLI"),
        // A BMP without its file header: the size of the next header, then one plane.
        [40, 0, 0, 0, _, _, _, _, _, _, _, _, 1, 0, ..] => Some("DIB"),
        [0, 0, 1, 0, 1..=255, 0, ..] => Some("ICO"),
        [0, 0, 2, 0, 1..=255, 0, ..] => Some("CUR"),
        [0x0a, 0..=5, 1, 1 | 2 | 4 | 8, ..] => Some("PCX"),
        [_, 0 | 1, 1..=3 | 9..=11, .., 8 | 15 | 16 | 24 | 32, descriptor] if descriptor & 0xc0 == 0 => {
            Some("TGA")
        }
        _ => None,
    }
}
