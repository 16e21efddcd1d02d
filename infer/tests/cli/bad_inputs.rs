//! Tests of unusable images: each is reported with a reason, and the others are classified.

use std::fs;

use crate::support::{RED, Said, Workplace};

fn refused(place: &Workplace, name: &str, parts: &[&str]) {
    place.image("good.png", RED);
    Said::by(place.infer().args(["classify", name])).fails(2, parts);
    let with_good = Said::by(place.infer().args(["classify", name, "good.png"]));
    with_good.fails(1, parts);
    assert!(with_good.stdout.starts_with("good.png\n"), "{}", with_good.stdout);
    assert!(with_good.stderr.contains("1 classified, 1 failed"), "{}", with_good.stderr);
}

#[test]
fn text_named_png() {
    let place = Workplace::new();
    fs::write(place.path("x.png"), "this is text").unwrap();
    refused(&place, "x.png", &["error: x.png: not an image"]);
}

#[test]
fn empty_file() {
    let place = Workplace::new();
    fs::write(place.path("x.png"), "").unwrap();
    refused(&place, "x.png", &["error: x.png: the file is empty"]);
}

#[test]
fn truncated_jpeg() {
    let place = Workplace::new();
    place.image("x.jpg", RED);
    let whole = fs::read(place.path("x.jpg")).unwrap();
    fs::write(place.path("x.jpg"), &whole[..whole.len() - 20]).unwrap();
    refused(&place, "x.jpg", &["error: x.jpg: the JPEG ends too early"]);
}

#[test]
fn huge_image() {
    let place = Workplace::new();
    // A complete black-and-white BMP would be 50 MB; its header is enough.
    place.image("x.bmp", RED);
    let mut bytes = fs::read(place.path("x.bmp")).unwrap();
    bytes[18..22].copy_from_slice(&20_000u32.to_le_bytes());
    bytes[22..26].copy_from_slice(&20_000u32.to_le_bytes());
    fs::write(place.path("x.bmp"), bytes).unwrap();
    refused(&place, "x.bmp", &["error: x.bmp: 20000x20000 is too large", "16384 pixels"]);
}

#[test]
fn missing_file() {
    refused(&Workplace::new(), "none.png", &["error: none.png: no such file or folder"]);
}

/// Broken links replace files without read permission, which root could read.
#[cfg(unix)]
#[test]
fn unreadable_file() {
    let place = Workplace::new();
    std::os::unix::fs::symlink("nowhere", place.path("x.png")).unwrap();
    refused(&place, "x.png", &["error: x.png: no such file"]);
    std::os::unix::fs::symlink("loop.png", place.path("loop.png")).unwrap();
    refused(&place, "loop.png", &["error: loop.png: ", "symbolic links"]);
}

#[test]
fn empty_folder() {
    let place = Workplace::new();
    fs::create_dir(place.path("folder.png")).unwrap();
    refused(&place, "folder.png", &["error: folder.png: no images in this folder (JPEG, PNG"]);
}

#[test]
fn many_good_and_some_bad() {
    let place = Workplace::new();
    for index in 0..99 {
        place.image(&format!("p/{index:02}.png"), RED);
    }
    for index in 0..99 {
        if index % 33 == 7 {
            fs::write(place.path(&format!("p/{index:02}.png")), "bad").unwrap();
        }
    }
    let said = Said::by(place.infer().args(["classify", "p", "--format", "jsonl"]));
    assert_eq!(said.code, 1);
    assert_eq!(said.stdout.lines().count(), 99);
    let failed: Vec<_> = said.stderr.lines().collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert!(failed[0].starts_with("error: p/07.png: not an image"), "{}", failed[0]);
    let bad =
        said.stdout.lines().enumerate().filter(|(_, line)| line.contains("\"error\"")).map(|(at, _)| at);
    assert_eq!(bad.collect::<Vec<_>>(), [7, 40, 73]);
}
