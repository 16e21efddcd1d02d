//! Test of the page of `infer serve` in Chromium, where that is installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use ferronnx_models::card::{Activation, ModelCard, Threshold};
use image::{Rgb, RgbImage};

use crate::support::{Model, RED, Workplace, model_with, runtime};

#[test]
fn the_page_works_in_a_browser() {
    let is_missing = |program: &&str| Command::new(program).arg("--version").output().is_err();
    if let Some(program) = ["python3", "chromium", "chromedriver"].into_iter().find(is_missing) {
        eprintln!("the page was not tested: there is no {program}");
        return;
    }
    let place = Workplace::without_model();
    let several = |card: &mut ModelCard| {
        card.activation = Activation::Sigmoid;
        card.threshold = Some(Threshold::Each(vec![0.5, 0.3, 0.9]));
    };
    fs::write(place.path("masks.onnx"), Model::observing().encoded_with(&[])).unwrap();
    fs::write(place.path("labels.onnx"), model_with(several)).unwrap();
    place.image("red.png", RED);
    place.image("photo.tif", RED);
    let wide = RgbImage::from_fn(300, 200, |x, y| Rgb([x as u8, y as u8, 60]));
    wide.save(place.path("wide.jpg")).unwrap();
    fs::write(place.path("bad.jpg"), "no image").unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/run.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(place.infer().get_program())
        .arg(place.path(""))
        .args(std::env::var_os("PAGE_SCREENSHOTS"))
        .env("ORT_DYLIB_PATH", runtime())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
