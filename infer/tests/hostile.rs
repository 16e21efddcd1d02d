//! Tests with damaged and malicious images and models: each gives an error or a result, never a panic or a hang.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "cli/support.rs"]
#[allow(dead_code)] // the rest is for the program's tests
mod support;

use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ferronnx_infer::error::chain;
use ferronnx_infer::{Classifier, Error, Preprocessor, decode};
use ferronnx_models::card::{CARD_KEY, Preprocessing};
use ferronnx_models::onnx;
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Model, RED, Said, Workplace, options, runtime};

const FORMATS: [ImageFormat; 6] = [
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::Gif,
    ImageFormat::Bmp,
    ImageFormat::Tiff,
    ImageFormat::WebP,
];

/// Encodes an image of some kilobytes.
fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let image = RgbImage::from_fn(197, 161, |x, y| {
        Rgb([x as u8, y as u8, 0].map(|value: u8| value.wrapping_add(rng.random_range(0..40))))
    });
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Decodes and preprocesses an image as `infer classify` does, and checks the kind of an error.
fn looked_at(bytes: &[u8]) -> Result<(), Error> {
    let started = Instant::now();
    let result = decode::bytes(bytes).map(|image| {
        let preprocessor = Preprocessor::new(&Preprocessing::for_size(224));
        assert_eq!(preprocessor.prepare(&image).dimensions(), (224, 224));
    });
    assert!(started.elapsed() < Duration::from_secs(20), "{} bytes took too long", bytes.len());
    if let Err(error) = &result {
        assert!(matches!(error.kind().name(), "decode" | "too_large"), "{error}");
    }
    result
}

#[test]
fn images_cut_at_every_kilobyte_are_refused() {
    for format in FORMATS {
        let whole = encoded(format);
        assert!(whole.len() > 3 << 10, "{format:?}");
        looked_at(&whole).unwrap();
        for length in (0..whole.len()).step_by(1 << 10) {
            assert!(looked_at(&whole[..length]).is_err(), "{format:?} cut at {length}");
        }
    }
}

#[test]
fn images_with_flipped_bytes_are_read_or_refused() {
    for format in FORMATS {
        let whole = encoded(format);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for round in 0..300 {
            let mut bytes = whole.clone();
            // The header decides most, so that a third of the changes is there.
            let end = if round % 3 == 0 { 64.min(bytes.len()) } else { bytes.len() };
            for _ in 0..rng.random_range(1..4) {
                bytes[rng.random_range(0..end)] ^= 1 << rng.random_range(0..8);
            }
            let _ = looked_at(&bytes);
        }
    }
}

#[test]
fn an_image_is_read_whatever_it_is_called() {
    let place = Workplace::new();
    place.image("red.png", RED);
    for name in ["red.jpg", "red.webp", "red"] {
        std::fs::copy(place.path("red.png"), place.path(name)).unwrap();
        let said = Said::by(place.infer().args(["classify", name, "--top-k", "1"]));
        assert!(said.code == 0 && said.stdout.contains("red"), "{name}: {}", said.stderr);
    }
}

#[test]
fn images_of_odd_sizes_are_read() {
    for (width, height) in [(1, 1), (1, 3000), (3000, 1), (2, 16_384), (16_384, 2), (3, 1)] {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_pixel(width, height, Rgb(RED)).write_to(&mut bytes, ImageFormat::Png).unwrap();
        looked_at(bytes.get_ref()).unwrap_or_else(|error| panic!("{width}x{height}: {error}"));
    }
}

/// Copies the images that `infer` cannot read, and one that it can, into `folder`.
fn mixed_folder(place: &Workplace) -> usize {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let refused: Vec<_> = std::fs::read_dir(formats.join("refused")).unwrap().map(Result::unwrap).collect();
    place.image("folder/good.png", RED);
    let mut bad = Vec::new();
    for file in &refused {
        // By content, whatever they are called.
        bad.push(std::fs::read(file.path()).unwrap());
    }
    let mut overwritten = std::fs::read(formats.join("baseline.jpg")).unwrap();
    let middle = overwritten.len() - 200;
    overwritten[middle..middle + 100].fill(0x55);
    bad.push(overwritten);
    // A frame of no pixels.
    let mut empty = std::fs::read(formats.join("palette.gif")).unwrap();
    empty[6..10].fill(0);
    bad.push(empty);
    for (index, bytes) in bad.iter().enumerate() {
        std::fs::write(place.path(&format!("folder/{index}.png")), bytes).unwrap();
    }
    bad.len()
}

#[test]
fn one_images_failure_is_its_own_in_every_format() {
    let place = Workplace::new();
    let bad = mixed_folder(&place);
    for format in ["table", "json", "jsonl", "csv"] {
        let said = Said::by(place.infer().args(["classify", "folder", "--format", format]));
        assert_eq!(said.code, 1, "{format}: {}", said.stderr);
        assert_eq!(
            said.stderr.lines().filter(|line| line.starts_with("error: ")).count(),
            bad,
            "{}",
            said.stderr
        );
        assert!(!said.stderr.contains("internal error"), "{}", said.stderr);
        let has_good = said.stdout.contains("good.png") && said.stdout.contains("red");
        assert!(has_good, "{format}: {}", said.stdout);
    }
}

/// Files of public reports, with what is right for them; they lie beside the checkout.
#[test]
fn public_reports_are_settled() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases");
    if !cases.is_dir() {
        eprintln!("skipped: no folder ../shared/cases beside the checkout");
        return;
    }
    let read = |name: &str| decode::file(cases.join(name));
    let [apart, together] = ["c-nonint420.jpg", "c-base420.jpg"]
        .map(|name| read(&format!("jpeg-noninterleaved/{name}")).unwrap());
    let furthest = apart.iter().zip(together.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(furthest <= 4, "{furthest} of 255");
    // The same photo, turned by half and by a quarter.
    let [half, quarter] =
        [3, 6].map(|turn| read(&format!("webp-exif-prefix/hopper_orientation_{turn}.webp")).unwrap());
    let stored = image::open(cases.join("webp-exif-prefix/hopper_orientation_3.webp")).unwrap().into_rgb8();
    assert_eq!(half, image::imageops::rotate180(&stored));
    let stored = image::open(cases.join("webp-exif-prefix/hopper_orientation_6.webp")).unwrap().into_rgb8();
    assert_eq!(quarter, image::imageops::rotate90(&stored));
    for (name, reason) in [
        ("jpeg-damaged-half-gray/ffs.jpg", "the JPEG is damaged: "),
        ("messages/c-arith.jpg", "arithmetic-coded JPEG is not supported"),
        ("tiff-planar-tiled-panic/folder/b.tif", "TIFF with tiles of one channel is not supported"),
    ] {
        let error = read(name).unwrap_err();
        assert!(error.reason().starts_with(reason), "{name}: {}", error.reason());
    }
}

/// Refuses 33 kB that would decode to 268 MB of gray, and 805 MB of RGB.
#[test]
fn a_bomb_is_refused_from_its_header() {
    let mut bytes = Cursor::new(Vec::new());
    let started = Instant::now();
    GrayImage::new(16_384, 16_384).write_to(&mut bytes, ImageFormat::Png).unwrap();
    let encoding = started.elapsed();
    let started = Instant::now();
    let error = looked_at(bytes.get_ref()).unwrap_err();
    assert_eq!(error.kind().name(), "too_large", "{error}");
    assert!(started.elapsed() < encoding / 10, "its pixels were decoded");
}

#[test]
fn an_endless_image_on_standard_input_ends() {
    let place = Workplace::new();
    let mut infer = Command::new(env!("CARGO_BIN_EXE_infer"))
        .args(["classify", "-"])
        .current_dir(place.path(""))
        .env("ORT_DYLIB_PATH", runtime())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = infer.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || while stdin.write_all(&[0; 1 << 16]).is_ok() {});
    let output = infer.wait_with_output().unwrap();
    feeder.join().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("too large"), "{said}");
}

/// Loads a model and runs it once.
fn loaded(bytes: &[u8]) -> Result<(), Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let classifier = Classifier::builder().options(options()).load(file.path())?;
    classifier.classify(&RgbImage::from_pixel(20, 20, Rgb(RED))).map(|_| ())
}

fn is_stated(error: &Error) -> bool {
    matches!(error.kind().name(), "model" | "session")
}

#[test]
fn models_that_are_cut_are_refused() {
    let whole = Model::default().certified();
    loaded(&whole).unwrap();
    for length in (0..whole.len()).step_by(97) {
        // What is cut between two fields is a whole file, with less metadata; the card is among the last.
        let error = loaded(&whole[..length]).expect_err("a card that is complete");
        assert!(is_stated(&error), "cut at {length}: {error}");
    }
}

#[test]
fn models_with_flipped_bytes_are_run_or_refused() {
    let whole = Model::default().encoded_with(&[]);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << rng.random_range(0..8);
        if let Err(error) = loaded(&bytes) {
            assert!(is_stated(&error), "byte {at}: {error}");
        }
    }
}

#[test]
fn odd_metadata_is_an_error_or_does_not_matter() {
    let model = Model::default();
    let huge = "x".repeat(8 << 20);
    loaded(&model.encoded_with(&[("note", &huge)])).unwrap();
    let nested = "[".repeat(100_000);
    for card in [&huge[..], &nested, "", "null", "{}", "[]", "{\"format\": 1}"] {
        let error = loaded(&onnx::encode(model.graph.clone(), &[(CARD_KEY, card)])).unwrap_err();
        assert_eq!(error.kind().name(), "model", "{error}");
        assert!(chain(&error).len() < 500, "{error}");
    }
    // Of two cards, the last counts, as ONNX Runtime has it.
    let card = model.card.to_json();
    loaded(&onnx::encode(model.graph.clone(), &[(CARD_KEY, "{}"), (CARD_KEY, &card)])).unwrap();
    assert!(loaded(&onnx::encode(model.graph, &[(CARD_KEY, &card), (CARD_KEY, "{}")])).is_err());
}
