//! Compares decoded images of every kind with Pillow's results; `formats/generate.py` wrote both.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::Path;

use ferronnx_infer::decode;

/// Largest difference allowed, in levels of 255: decoders of JPEG and lossy WebP round differently, and CMYK has no single
/// conversion.
fn allowed(name: &str) -> u8 {
    match name {
        "cmyk.jpg" => 6,
        "subsampled.jpg" | "baseline.jpg" | "progressive.jpg" | "lossy.webp" => 4,
        "gray.jpg" => 1,
        // Transparency is rounded once here, and twice there.
        "rgba.png" | "rgba.webp" | "gray-alpha.png" => 1,
        _ => 0,
    }
}

#[test]
fn every_kind_is_read_as_pillow_reads_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() || name.ends_with(".py") {
            continue;
        }
        seen += 1;
        let found = decode::file(&path).unwrap();
        let expected = decode::file(folder.join(format!("expected/{name}.png"))).unwrap();
        assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
        let difference = found.iter().zip(expected.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("{name}: {difference} of 255");
        assert!(difference <= allowed(&name), "{name} is {difference} of 255 apart");
    }
    assert_eq!(seen, 34, "26 kinds and 8 orientations");
}
