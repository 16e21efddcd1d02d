//! Tests of `infer explain`: the overlay, and the errors.

use ferronnx_models::card::{InputForm, Precision};
use serde_json::Value;

use crate::support::{Model, RED, Said, Workplace};

#[test]
fn a_file_without_masks_says_how_to_get_them() {
    let place = Workplace::new();
    place.image("red.png", RED);
    let said = Said::by(place.infer().args(["explain", "red.png"]));
    said.fails(2, &["model.onnx", "gives no attention masks", "--attention-outputs"]);
    assert!(!place.path("overlay.png").exists());
}

#[test]
fn masks_are_laid_over_the_photo() {
    let place = Workplace::without_model();
    std::fs::write(place.path("model.onnx"), Model::observing().encoded_with(&[])).unwrap();
    place.image("photos/red.png", RED);
    let said = Said::by(place.infer().args(["explain", "photos/red.png", "-o", "seen.png"]));
    assert_eq!((said.code, said.stderr.as_str()), (0, "overlay: seen.png\n"), "{}", said.stdout);
    assert!(said.stdout.contains("sees           red "), "{}", said.stdout);
    assert!(said.stdout.contains("attention  16x16"), "{}", said.stdout);
    let overlay = image::open(place.path("seen.png")).unwrap();
    assert!(overlay.width() > 3 * 256 && overlay.height() > 256, "{}x{}", overlay.width(), overlay.height());

    let said = Said::by(place.infer().args(["explain", "photos/red.png", "--format", "json"]));
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["predictions"][0]["label"], "red");
    assert_eq!(found["masks"][0]["name"], "attention.mask");
    assert_eq!(found["masks"][0]["values"].as_array().unwrap().len(), 16);

    let said = Said::by(place.infer().args(["explain", "photos/red.png", "-o", "seen.txt"]));
    said.fails(2, &["seen.txt", "has to end in .png"]);
    let said = Said::by(place.infer().args(["explain", "none.png"]));
    said.fails(2, &["none.png", "no such file"]);
    assert_eq!(
        Model::of(InputForm::Float, Precision::Fp32).card.observed,
        [""; 0],
        "not every file has them"
    );
}
