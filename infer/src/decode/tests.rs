//! Tests of the decoder on generated images, whole and broken.

use image::{GrayImage, ImageBuffer, Luma, Rgb, Rgba, RgbaImage};

use super::*;

mod damage;
mod orientations;

/// Colours that compress badly, so that a cut anywhere takes away pixels.
fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 1u32;
    RgbImage::from_fn(width, height, |_, _| {
        Rgb([0; 3].map(|_: u8| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }))
    })
}

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut encoded = Cursor::new(Vec::new());
    image.into().write_to(&mut encoded, format).unwrap();
    encoded.into_inner()
}

const FORMATS: &[ImageFormat] = &[
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::Bmp,
    #[cfg(feature = "formats")]
    ImageFormat::Gif,
    #[cfg(feature = "formats")]
    ImageFormat::Tiff,
    #[cfg(feature = "formats")]
    ImageFormat::WebP,
];

#[test]
fn every_format_is_read() {
    for &format in FORMATS {
        let image = bytes(&encode(noise(40, 30), format)).unwrap();
        assert_eq!(image.dimensions(), (40, 30), "{format:?}");
    }
    assert_eq!(bytes(&encode(noise(40, 30), ImageFormat::Png)).unwrap(), noise(40, 30));
}

#[test]
fn a_cut_image_is_an_error_in_every_format() {
    for &format in FORMATS {
        let whole = encode(noise(64, 64), format);
        for percent in [1, 5, 10, 25, 50, 75, 90, 99] {
            let cut = &whole[..whole.len() * percent / 100];
            let result = bytes(cut);
            assert!(
                matches!(&result, Err(error) if error.kind().name() == "decode"),
                "{format:?} cut at {percent} %: {result:?}"
            );
        }
    }
}

#[test]
fn a_jpeg_without_its_last_byte_is_an_error() {
    let whole = encode(noise(64, 64), ImageFormat::Jpeg);
    assert!(bytes(&whole).is_ok());
    for missing in [1, 2, 3, 100] {
        let error = bytes(&whole[..whole.len() - missing]).unwrap_err();
        assert_eq!(error.to_string(), "the JPEG ends too early: is the file complete?");
    }
}

#[test]
fn a_thumbnails_end_is_not_the_images() {
    let whole = encode(noise(64, 64), ImageFormat::Jpeg);
    let thumbnail = encode(noise(8, 8), ImageFormat::Jpeg);
    let mut with_thumbnail = whole[..2].to_vec();
    with_thumbnail.extend([0xff, 0xe1]);
    with_thumbnail.extend((thumbnail.len() as u16 + 2).to_be_bytes());
    with_thumbnail.extend(&thumbnail);
    with_thumbnail.extend(&whole[2..]);
    assert!(bytes(&with_thumbnail).is_ok());
    assert!(bytes(&with_thumbnail[..with_thumbnail.len() / 2]).is_err());
}

#[test]
fn text_and_nothing_are_no_images() {
    assert!(bytes(b"hello, this is text").unwrap_err().to_string().starts_with("not an image"));
    assert_eq!(bytes(b"").unwrap_err().to_string(), "the file is empty");
}

#[test]
fn a_huge_image_is_refused_from_its_header() {
    let mut header = encode(noise(1, 1), ImageFormat::Png);
    header[16..24].copy_from_slice(&[[0, 0, 0x4e, 0x20]; 2].concat());
    let crc = crc32(&header[12..29]);
    header[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = bytes(&header).unwrap_err();
    assert_eq!(error.kind().name(), "too_large");
    assert!(error.to_string().starts_with("20000x20000 is too large: the limit is 16384 pixels"), "{error}");
}

#[test]
fn a_huge_bmp_is_refused_from_its_header() {
    let mut header = encode(noise(1, 1), ImageFormat::Bmp);
    header[18..22].copy_from_slice(&20_000u32.to_le_bytes());
    header[22..26].copy_from_slice(&20_000u32.to_le_bytes());
    assert_eq!(bytes(&header).unwrap_err().kind().name(), "too_large");
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (0u32.wrapping_sub(crc & 1)));
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

#[test]
fn transparency_lies_over_white() {
    let image = RgbaImage::from_fn(3, 1, |x, _| Rgba([200, 0, 100, [0, 128, 255][x as usize]]));
    let opaque = bytes(&encode(image, ImageFormat::Png)).unwrap();
    assert_eq!(opaque.into_raw(), [255, 255, 255, 227, 127, 177, 200, 0, 100]);
}

#[test]
fn gray_and_16_bits_become_rgb8() {
    let gray = bytes(&encode(GrayImage::from_pixel(2, 2, Luma([77])), ImageFormat::Png)).unwrap();
    assert_eq!(gray.get_pixel(1, 1).0, [77; 3]);
    let deep: ImageBuffer<Rgb<u16>, _> = ImageBuffer::from_pixel(2, 2, Rgb([65_535, 32_896, 0]));
    let deep = bytes(&encode(DynamicImage::ImageRgb16(deep), ImageFormat::Png)).unwrap();
    assert_eq!(deep.get_pixel(0, 0).0, [255, 128, 0]);
}

#[test]
fn the_content_decides_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("really-a-png.jpg");
    std::fs::write(&path, encode(noise(5, 4), ImageFormat::Png)).unwrap();
    assert_eq!(file(&path).unwrap(), noise(5, 4));
}

#[test]
fn what_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    // Permissions do not hold for root, a folder in the place of a file does.
    let directory = folder.path().join("x.png");
    std::fs::create_dir(&directory).unwrap();
    assert_eq!(file(&directory).unwrap_err().kind().name(), "io");
    assert_eq!(file(folder.path().join("none.png")).unwrap_err().kind().name(), "not_found");
}
