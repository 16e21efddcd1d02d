//! Tests with damaged JPEGs: each is an error, where the decoder alone would fill with gray.

use super::super::*;
use super::{encode, noise};

/// File of `tests/formats`, written by libjpeg.
fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name)).unwrap()
}

fn reason(encoded: &[u8]) -> String {
    match bytes(encoded) {
        Ok(_) => "no error".into(),
        Err(error) => error.to_string(),
    }
}

/// Positions behind the headers of all scans.
fn scans(jpeg: &[u8]) -> Vec<usize> {
    let starts = jpeg.windows(2).enumerate().filter(|(_, pair)| *pair == [0xff, 0xda]);
    starts.map(|(at, _)| at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]))).collect()
}

#[test]
fn overwritten_data_is_an_error() {
    let whole = encode(noise(256, 256), ImageFormat::Jpeg);
    let start = scans(&whole)[0];
    let filler = noise(32, 6).into_raw();
    let mut silent = 0;
    for at in (start..whole.len() - 600).step_by(997) {
        let mut damaged = whole.clone();
        damaged[at..at + 512].copy_from_slice(&filler[..512]);
        silent += u32::from(bytes(&damaged).is_ok());
    }
    assert_eq!(silent, 0);
}

#[test]
fn missing_and_additional_data_is_an_error() {
    let whole = encode(noise(64, 64), ImageFormat::Jpeg);
    let middle = usize::midpoint(scans(&whole)[0], whole.len());
    for length in [1, 2, 10, 100] {
        let missing = [&whole[..middle], &whole[middle + length..]].concat();
        assert!(
            reason(&missing).starts_with("the JPEG is damaged: "),
            "{length} missing: {}",
            reason(&missing)
        );
        let doubled = [&whole[..middle], &whole[middle - length..]].concat();
        assert!(
            reason(&doubled).starts_with("the JPEG is damaged: "),
            "{length} doubled: {}",
            reason(&doubled)
        );
    }
}

#[cfg(feature = "formats")]
#[test]
fn lost_restart_markers_are_an_error() {
    for name in ["restart-2x2.jpg", "apart-restart-2x2.jpg", "progressive-restart-2x2.jpg"] {
        let whole = fixture(name);
        assert_eq!(reason(&whole), "no error", "{name}");
        let is_restart = |pair: &[u8]| pair[0] == 0xff && (0xd0..=0xd7).contains(&pair[1]);
        let start = scans(&whole)[0];
        for at in (start..whole.len() - 1).filter(|&at| is_restart(&whole[at..at + 2])) {
            let lost = [&whole[..at], &whole[at + 2..]].concat();
            assert!(reason(&lost).starts_with("the JPEG is damaged: "), "{name} at {at}: {}", reason(&lost));
            let mut swapped = whole.clone();
            swapped[at + 1] ^= 1;
            assert_eq!(
                reason(&swapped),
                "the JPEG is damaged: a restart marker is missing",
                "{name} at {at}"
            );
        }
    }
}

/// A file that is cut after a scan and ended properly shows a coarse or colourless image.
#[cfg(feature = "formats")]
#[test]
fn missing_scans_are_an_error() {
    for (name, count) in [("progressive.jpg", 10), ("apart-2x2.jpg", 3), ("luma-first-2x2.jpg", 2)] {
        let whole = fixture(name);
        let scans = scans(&whole);
        assert_eq!(scans.len(), count, "{name}");
        for &scan in &scans[1..] {
            // The header of the scan begins with its marker, after tables of its own.
            let next =
                scan + whole[scan..].windows(2).position(|pair| pair[0] == 0xff && pair[1] >= 0xc0).unwrap();
            if whole[next + 1] == 0xd9 {
                continue;
            }
            let ended = [&whole[..next], &[0xff, 0xd9]].concat();
            assert_eq!(reason(&ended), "the JPEG is damaged: scans are missing", "{name} cut at {next}");
        }
    }
}

/// What libjpeg passes over without losing a pixel is no reason to refuse an image.
#[test]
fn what_is_harmless_is_accepted() {
    let whole = encode(noise(40, 30), ImageFormat::Jpeg);
    let expected = bytes(&whole).unwrap();
    let padded = [&whole[..whole.len() - 2], &[0, 0, 0, 0xff, 0xd9]].concat();
    let followed = [&whole[..], b"more after the image, \xff\xd8\xff"].concat();
    let junk_between_headers = [&whole[..20], &[1, 2, 3, 0xff, 0x00], &whole[20..]].concat();
    let fill_bytes = [&whole[..20], &[0xff, 0xff, 0xff], &whole[20..]].concat();
    for (what, bytes_of) in
        [("padding", padded), ("data behind", followed), ("junk", junk_between_headers), ("fill", fill_bytes)]
    {
        assert_eq!(bytes(&bytes_of).unwrap_or_else(|error| panic!("{what}: {error}")), expected, "{what}");
    }
}
