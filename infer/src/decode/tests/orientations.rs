//! Tests of the EXIF orientation: all eight, wherever a format can have it.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::metadata::Orientation;

use super::super::*;
use super::{crc32, encode, noise};

/// EXIF block with nothing but the orientation, as SHORT (3) or LONG (4).
fn exif(little_endian: bool, kind: u16, orientation: u8) -> Vec<u8> {
    let order = |value: &[u8]| match little_endian {
        true => value.iter().rev().copied().collect::<Vec<_>>(),
        false => value.to_vec(),
    };
    let value = match kind {
        3 => [order(&u16::from(orientation).to_be_bytes()), vec![0, 0]].concat(),
        _ => order(&u32::from(orientation).to_be_bytes()),
    };
    let fields: [&[u8]; 6] =
        [&[0, 42], &[0, 0, 0, 8], &[0, 1], &[1, 0x12], &kind.to_be_bytes(), &[0, 0, 0, 1]];
    let fields: Vec<_> = fields.into_iter().flat_map(order).collect();
    [if little_endian { b"II" } else { b"MM" }, &fields[..], &value, &[0; 4]].concat()
}

/// Every EXIF block of an orientation.
fn blocks(orientation: u8) -> Vec<Vec<u8>> {
    let kinds = [(false, 3), (false, 4), (true, 3), (true, 4)];
    kinds.map(|(little_endian, kind)| exif(little_endian, kind, orientation)).to_vec()
}

fn xmp(orientation: u8) -> Vec<u8> {
    format!("<x:xmpmeta><rdf:Description tiff:Orientation=\"{orientation}\"/></x:xmpmeta>").into_bytes()
}

/// Inserts a segment of type APP1 into a JPEG.
fn with_segment(jpeg: &[u8], prefix: &[u8], content: &[u8]) -> Vec<u8> {
    let length = ((2 + prefix.len() + content.len()) as u16).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, prefix, content, &jpeg[2..]].concat()
}

/// Inserts a chunk into a PNG, before or after its pixels.
fn with_chunk(png: &[u8], kind: &[u8; 4], content: &[u8], after: bool) -> Vec<u8> {
    let at = if after { png.len() - 12 } else { 33 };
    let named = [kind, content].concat();
    let (length, sum) = ((content.len() as u32).to_be_bytes(), crc32(&named).to_be_bytes());
    [&png[..at], &length, &named, &sum, &png[at..]].concat()
}

/// Raw profile as ImageMagick writes it.
fn raw_profile(exif: &[u8]) -> Vec<u8> {
    let hex: String = exif.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\nexif\n{:8}\n{hex}\n", exif.len()).into_bytes()
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Checks that `turned` is `lying`, turned upright.
fn check(what: &str, lying: &[u8], turned: &[u8], orientation: u8) {
    let mut expected = DynamicImage::from(bytes(lying).unwrap());
    expected.apply_orientation(Orientation::from_exif(orientation).unwrap());
    let found = bytes(turned).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(found, expected.into_rgb8(), "{what}, orientation {orientation}");
}

#[test]
fn of_jpeg() {
    let lying = encode(noise(40, 20), ImageFormat::Jpeg);
    for orientation in 1..=8 {
        for exif in blocks(orientation) {
            check("EXIF", &lying, &with_segment(&lying, b"Exif\0\0", &exif), orientation);
        }
        let xmp = with_segment(&lying, b"http://ns.adobe.com/xap/1.0/\0", &xmp(orientation));
        check("XMP", &lying, &xmp, orientation);
    }
    // EXIF counts before XMP.
    let both = with_segment(&lying, b"http://ns.adobe.com/xap/1.0/\0", &xmp(6));
    check("both", &lying, &with_segment(&both, b"Exif\0\0", &exif(true, 3, 3)), 3);
}

#[test]
fn of_png() {
    let lying = encode(noise(12, 7), ImageFormat::Png);
    for orientation in 1..=8 {
        for exif in blocks(orientation) {
            let prefixed = [b"Exif\0\0", &exif[..]].concat();
            for after in [false, true] {
                let check = |what, kind, content: &[u8]| {
                    check(what, &lying, &with_chunk(&lying, kind, content, after), orientation);
                };
                check("eXIf", b"eXIf", &exif);
                check("eXIf with a prefix", b"eXIf", &prefixed);
                for name in [&b"Raw profile type exif\0"[..], b"Raw profile type APP1\0"] {
                    let profile = raw_profile(&prefixed);
                    check("tEXt", b"tEXt", &[name, &profile].concat());
                    check("zTXt", b"zTXt", &[name, b"\0", &packed(&profile)].concat());
                }
                let xmp = xmp(orientation);
                check("XMP", b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0", &xmp[..]].concat());
                check("packed XMP", b"iTXt", &[b"XML:com.adobe.xmp\0\x01\0\0\0", &packed(&xmp)[..]].concat());
            }
        }
    }
}

#[cfg(feature = "formats")]
#[test]
fn of_webp() {
    let lying = encode(noise(12, 7), ImageFormat::WebP);
    let chunk = |kind: &[u8], content: &[u8]| {
        let padding = &[0][..content.len() % 2];
        [kind, &(content.len() as u32).to_le_bytes(), content, padding].concat()
    };
    // An extended file has a header with flags and the size; 8 stands for EXIF, 4 for XMP.
    let extended = |flag: u8, metadata: &[u8]| {
        let header = chunk(b"VP8X", &[flag, 0, 0, 0, 11, 0, 0, 6, 0, 0]);
        let content = [b"WEBP", &header[..], &lying[12..], metadata].concat();
        chunk(b"RIFF", &content)
    };
    for orientation in 1..=8 {
        for exif in blocks(orientation) {
            check("EXIF", &lying, &extended(8, &chunk(b"EXIF", &exif)), orientation);
            let prefixed = [b"Exif\0\0", &exif[..]].concat();
            check("EXIF with a prefix", &lying, &extended(8, &chunk(b"EXIF", &prefixed)), orientation);
        }
        check("XMP", &lying, &extended(4, &chunk(b"XMP ", &xmp(orientation))), orientation);
    }
}

#[cfg(feature = "formats")]
#[test]
fn of_tiff() {
    let pixels = noise(12, 7);
    let lying = encode(pixels.clone(), ImageFormat::Png);
    for little_endian in [false, true] {
        for (kind, orientation) in (1..=8).flat_map(|orientation| [(3, orientation), (4, orientation)]) {
            let number = |value: u32, size: usize| match little_endian {
                true => value.to_le_bytes()[..size].to_vec(),
                false => value.to_be_bytes()[4 - size..].to_vec(),
            };
            let bits = [number(8, 2), number(8, 2), number(8, 2)].concat();
            let bits_at = 8 + 2 + 10 * 12 + 4;
            let entries: [(u32, u32, u32, u32); 10] = [
                (256, 3, 1, 12),
                (257, 3, 1, 7),
                (258, 3, 3, bits_at),
                (259, 3, 1, 1),
                (262, 3, 1, 2),
                (273, 4, 1, bits_at + 6),
                (274, kind, 1, orientation),
                (277, 3, 1, 3),
                (278, 3, 1, 7),
                (279, 4, 1, 12 * 7 * 3),
            ];
            let mut tiff = if little_endian { b"II".to_vec() } else { b"MM".to_vec() };
            tiff.extend([number(42, 2), number(8, 4), number(10, 2)].concat());
            for (tag, kind, count, value) in entries {
                let is_short = kind == 3 && count == 1;
                tiff.extend([number(tag, 2), number(kind, 2), number(count, 4)].concat());
                tiff.extend(if is_short {
                    [number(value, 2), vec![0; 2]].concat()
                } else {
                    number(value, 4)
                });
            }
            tiff.extend([0; 4].iter().chain(&bits).chain(pixels.as_raw()));
            check("TIFF", &lying, &tiff, orientation as u8);
        }
    }
}
