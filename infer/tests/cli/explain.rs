//! Tests of `infer explain`: the overlay, and the errors.

use ferronnx_models::card::{InputForm, Precision};
use serde_json::Value;

use crate::support::{BLUE, Model, RED, Said, Workplace};

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

#[test]
fn the_class_activation_map_sums_up_to_the_logit() {
    let place = Workplace::without_model();
    std::fs::write(place.path("model.onnx"), Model::with_features().encoded_with(&[])).unwrap();
    // Left half red, right half blue.
    let photo = image::RgbImage::from_fn(32, 32, |x, _| image::Rgb(if x < 16 { RED } else { BLUE }));
    photo.save(place.path("half.png")).unwrap();
    let explain = |class: &[&str]| -> Value {
        let said = Said::by(place.infer().args(["explain", "half.png", "--format", "json"]).args(class));
        assert_eq!(said.code, 0, "{}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    };
    for (class, index, half) in [("red", 0, 0), ("2", 2, 1), ("green", 1, 9)] {
        let found = explain(&["--class", class]);
        let map = &found["class_map"];
        assert_eq!(map["index"], index);
        let number = |value: &Value| value.as_f64().unwrap();
        let rows: Vec<Vec<f64>> = map["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row.as_array().unwrap().iter().map(number).collect())
            .collect();
        let mean = rows.iter().flatten().sum::<f64>() / 256.0;
        assert!((mean + number(&map["bias"]) - number(&map["logit"])).abs() < 1e-5, "{class}: {mean} {map}");
        let sides = [&rows[8][3], &rows[8][12]];
        match half {
            0 => assert!(*sides[0] > *sides[1] + 1.0, "{sides:?}"),
            1 => assert!(*sides[1] > *sides[0] + 1.0, "{sides:?}"),
            _ => assert!(rows.iter().flatten().all(|&value| value < 0.0), "nothing speaks for green"),
        }
        assert_eq!(found["masks"].as_array().unwrap().len(), 0);
    }
    let likeliest = explain(&[]);
    assert_eq!(likeliest["class_map"]["index"], likeliest["predictions"][0]["index"]);
    let said = Said::by(place.infer().args(["explain", "half.png", "--class", "red"]));
    assert!(said.stdout.contains("class          red, logit"), "{}", said.stdout);
    let said = Said::by(place.infer().args(["explain", "half.png", "--class", "cat"]));
    said.fails(2, &["--class cat", "no index from 0 to 2"]);
    std::fs::write(place.path("model.onnx"), Model::observing().encoded_with(&[])).unwrap();
    let said = Said::by(place.infer().args(["explain", "half.png", "--class", "red"]));
    said.fails(2, &["gives no feature maps", "train export --explain-outputs"]);
}
