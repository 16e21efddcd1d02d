//! Compares resizing and cropping with torchvision's, see goldens/generate.py.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::Path;

use ferronnx_infer::{Preprocessor, decode};
use ferronnx_models::card::Preprocessing;

#[test]
fn prepares_as_torchvision_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut compared = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let parts: Vec<_> = stem.split('-').collect();
        let [name, resize, crop] = parts[..] else { continue };
        let (resize, crop) = (resize.parse().unwrap(), crop.parse().unwrap());
        let preprocessor =
            Preprocessor::new(&Preprocessing { resize, crop, ..Preprocessing::for_size(crop) });

        let original = decode::file(folder.join(name).with_extension("png")).unwrap();
        let (prepared, golden) = (preprocessor.prepare(&original), decode::file(&path).unwrap());
        assert_eq!(prepared.dimensions(), golden.dimensions(), "{stem}");
        assert!(prepared == golden, "{stem}");
        compared += 1;
    }
    assert_eq!(compared, 8);
}
