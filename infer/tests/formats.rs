//! Compares decoded images of every kind with Pillow's results; `formats/generate.py` wrote both.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::Path;

use ferronnx_infer::decode;
use flate2::read::GzDecoder;

/// Largest difference allowed, in levels of 255: decoders of JPEG and lossy WebP round differently, and CMYK has no single
/// conversion.
fn allowed(name: &str) -> u8 {
    match name {
        "cmyk.jpg" => 6,
        "gray.jpg" => 1,
        name if name.ends_with(".jpg") => 4,
        "lossy.webp" | "jpeg.tiff" => 4,
        // Transparency is rounded once here, and twice there.
        "rgba.png" | "rgba.webp" | "gray-alpha.png" => 1,
        _ => 0,
    }
}

#[test]
fn every_kind_is_read_as_pillow_reads_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let pillows = tempfile::tempdir().unwrap();
    let packed = &include_bytes!("formats/expected.tar.gz")[..];
    tar::Archive::new(GzDecoder::new(packed)).unpack(&pillows).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() || name.ends_with(".py") || name.ends_with(".gz") {
            continue;
        }
        seen += 1;
        let found = decode::file(&path).unwrap();
        let expected = decode::file(pillows.path().join(format!("{name}.png"))).unwrap();
        assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
        let difference = found.iter().zip(expected.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("{name}: {difference} of 255");
        assert!(difference <= allowed(&name), "{name} is {difference} of 255 apart");
    }
    assert_eq!(seen, 68, "60 kinds and 8 orientations");
}

#[test]
fn other_kinds_are_refused_by_name() {
    let refusals = [
        ("arithmetic.jpg", "arithmetic-coded JPEG is not supported: convert it to PNG or JPEG"),
        ("lossless.jpg", "lossless JPEG is not supported: convert it to PNG or JPEG"),
        ("deep.jpg", "JPEG with 12 bits per sample is not supported: convert it to PNG or JPEG"),
        ("fax-3.tiff", "TIFF with fax group 3 compression is not supported: convert it to PNG or JPEG"),
        ("float.tiff", "TIFF with floating-point gray is not supported: convert it to PNG or JPEG"),
        ("zstd.tiff", "TIFF with Zstandard compression is not supported: convert it to PNG or JPEG"),
        ("planar-tiled.tiff", "TIFF with tiles of one channel is not supported: convert it to PNG or JPEG"),
        ("photo.heic", "HEIC is not supported: convert it to PNG or JPEG"),
        ("photo.avif", "AVIF is not supported: convert it to PNG or JPEG"),
        ("photo.jxl", "JPEG XL is not supported: convert it to PNG or JPEG"),
        ("photo.jp2", "JPEG 2000 is not supported: convert it to PNG or JPEG"),
        ("photo.ico", "ICO is not supported: convert it to PNG or JPEG"),
        ("photo.ppm", "Netpbm is not supported: convert it to PNG or JPEG"),
        ("photo.tga", "TGA is not supported: convert it to PNG or JPEG"),
        ("photo.dds", "DDS is not supported: convert it to PNG or JPEG"),
        ("photo.pcx", "PCX is not supported: convert it to PNG or JPEG"),
        ("photo.sgi", "SGI is not supported: convert it to PNG or JPEG"),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/refused");
    for (name, reason) in refusals {
        let error = decode::file(folder.join(name)).unwrap_err();
        assert_eq!((error.kind().name(), error.reason().as_str()), ("decode", reason), "{name}");
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), refusals.len());
}

/// Values of the images in `formats/sixteen`.
const SIXTEEN: [u16; 14] = [0, 127, 128, 129, 255, 256, 257, 385, 386, 4_095, 32_767, 65_279, 65_280, 65_535];

#[test]
fn sixteen_bits_are_scaled_from_their_whole_range_whoever_wrote_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/sixteen");
    let scaled = |value: u16| (f64::from(value) * 255.0 / 65_535.0).round() as u8;
    for ending in ["png", "tiff"] {
        for (name, largest) in [("pillow-gray", 65_535), ("opencv-gray", 65_535), ("opencv-rgb", 65_535)] {
            let file = format!("{name}.{ending}");
            let encoded = decode::encoded(folder.join(&file)).unwrap();
            let found = decode::described(&encoded, &decode::Limits::default()).unwrap();
            let expected = SIXTEEN.iter().zip(SIXTEEN.iter().rev()).map(|(&value, &mirrored)| match name {
                "opencv-rgb" => [scaled(4_095), scaled(mirrored), scaled(value)],
                _ => [scaled(value); 3],
            });
            let pixels: Vec<[u8; 3]> = found.image.pixels().map(|pixel| pixel.0).collect();
            assert_eq!(pixels, expected.collect::<Vec<_>>(), "{file}");
            assert_eq!(found.stored.largest, Some(largest), "{file}");
            let kind = if name == "opencv-rgb" { "RGB 16 bits" } else { "gray 16 bits" };
            assert_eq!((&*found.stored.to_string(), found.stored.is_gray()), (kind, name != "opencv-rgb"));
            assert_eq!(found.stored.format_name(), ending.to_uppercase());
        }
    }
}
