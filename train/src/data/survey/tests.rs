use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{DynamicImage, ImageBuffer, Luma, Rgb, RgbImage};

use super::*;

fn sample(dir: &Path, name: &str, label: usize) -> Sample {
    Sample { path: dir.join(name), labels: vec![label] }
}

#[test]
fn everything_about_a_set_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    RgbImage::from_pixel(4, 2, Rgb([1, 2, 3])).save(at("a.png")).unwrap();
    RgbImage::from_pixel(4, 2, Rgb([1, 2, 3])).save(at("again.bmp")).unwrap();
    RgbImage::from_pixel(2, 4, Rgb([1, 2, 3])).save(at("turned.png")).unwrap();
    RgbImage::from_pixel(9, 9, Rgb([7, 7, 7])).save(at("colourless.png")).unwrap();
    let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_fn(3, 3, |x, _| Luma([x as u16 * 2_000]));
    DynamicImage::ImageLuma16(deep).save(at("deep.png")).unwrap();
    fs::write(at("bad.png"), "no image").unwrap();
    let train = ["a.png", "turned.png", "colourless.png", "deep.png", "bad.png"]
        .map(|name| sample(dir.path(), name, 0));
    let train = [&train[..], &[sample(dir.path(), "gone.png", 1)]].concat();
    let test = [sample(dir.path(), "again.bmp", 1)];
    let done = AtomicUsize::new(0);
    let classes = ["cat", "dog"].map(str::to_owned);
    let parts = [(Split::Train, &train[..]), (Split::Test, &test[..])];
    let found = Survey::of(&Source::Files, &parts, &classes, || {
        done.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap();

    assert_eq!((found.images, found.decoded(), done.into_inner()), (7, 5, 7));
    let count = |name: &str, train, test| ClassCount { name: name.into(), train, validation: 0, test };
    assert_eq!(found.classes, [count("cat", 5, 0), count("dog", 1, 1)]);
    assert_eq!(found.imbalance, Some(5.0));
    let sizes = found.sizes.unwrap();
    assert_eq!((sizes.smallest, sizes.median, sizes.largest, sizes.different), ([2, 4], [4, 3], [9, 9], 4));
    assert_eq!(found.formats, BTreeMap::from([("BMP", 1), ("PNG", 4)]));
    assert_eq!(found.pixels, BTreeMap::from([("RGB".into(), 4), ("gray 16 bits".into(), 1)]));
    assert_eq!((found.colourless, found.is_colourless()), (2, false));
    let range = found.sixteen_bits.unwrap();
    assert_eq!((range.images, range.largest, range.is_dark()), (1, 4_000, true));
    let unreadable: Vec<_> = found.unreadable.iter().map(|bad| (bad.path.clone(), bad.damaged)).collect();
    assert_eq!(unreadable, [(at("bad.png"), true), (at("gone.png"), false)]);
    assert_eq!(found.unreadable[1].reason, "no such file or folder");
    let leaks = found.duplicates.leaks(Split::Test);
    assert_eq!(leaks.len(), 1, "pixels count, not the format");
    assert_eq!([&leaks[0][0].path, &leaks[0][1].path], [&at("again.bmp"), &at("a.png")]);
    assert_eq!(found.duplicates.contradictions().count(), 1);
    serde_json::to_string(&found).unwrap();
}
