//! Tests of models whose classes do not exclude each other.

use std::fs;

use serde_json::Value;

use crate::support::{self, Said, Workplace};

/// Model that ends in five sigmoids; its classes are ant, bee, cat, dog and eel.
fn place() -> Workplace {
    let place = Workplace::without_model();
    let fixtures = support::foreign();
    for (from, to) in [("sigmoid.onnx", "m.onnx"), ("wide.png", "wide.png"), ("tall.png", "tall.png")] {
        fs::copy(fixtures.path().join(from), place.path(to)).unwrap();
    }
    fs::write(place.path("list.csv"), "path,label\nwide.png,eel;bee\ntall.png,ant;bee;dog\n").unwrap();
    place
}

fn infer(place: &Workplace, arguments: &[&str]) -> Said {
    let model = ["--model", "m.onnx", "--mean", "0,0,0", "--std", "1,1,1"];
    Said::by(place.infer().args(arguments).args(model))
}

#[test]
fn every_selected_class_is_marked() {
    let said = infer(&place(), &["classify", "tall.png", "--top-k", "1"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let selected: Vec<_> = said.stdout.lines().filter(|line| line.contains("selected")).collect();
    assert_eq!(selected.len(), 3, "ant, bee and dog are above 0.5: {}", said.stdout);
    let csv = infer(&place(), &["classify", "tall.png", "--format", "csv"]).stdout;
    assert!(csv.starts_with("path,rank,index,label,probability,error,selected\n"), "{csv}");
    assert!(csv.contains("bee,0.86") && csv.contains(",true\n") && csv.contains(",false\n"), "{csv}");
}

#[test]
fn a_threshold_moves_what_is_selected() {
    let said = infer(&place(), &["classify", "tall.png", "--threshold", "0.8", "--format", "jsonl"]);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    let selected = found["predictions"].as_array().unwrap().iter().filter(|one| one["selected"] == true);
    assert_eq!(selected.map(|one| &one["label"]).collect::<Vec<_>>(), ["bee"]);
    infer(&place(), &["classify", "tall.png", "--threshold", "2"]).fails(2, &["--threshold", "from 0 to 1"]);
    let softmax = ["classify", "tall.png", "--threshold", "0.5", "--activation", "softmax"];
    infer(&place(), &softmax).fails(2, &["exclude each other", "leave --threshold out"]);
}

/// Right values by scikit-learn for the probabilities in `tests/foreign`.
#[test]
fn evaluated_by_average_precision() {
    let place = place();
    let said = infer(&place, &["evaluate", "--data", "list.csv", "--format", "json", "--report", "r.html"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!((found["images"].as_u64(), number(&found["exact_match"])), (Some(2), 0.5));
    assert_eq!(number(&found["mean_average_precision"]), 1.0);
    assert!((number(&found["hamming_loss"]) - 0.1).abs() < 1e-9);
    assert!((number(&found["micro_average"]["f1"]) - 8.0 / 9.0).abs() < 1e-9, "{found}");
    assert_eq!(found["classes"][2]["average_precision"], Value::Null, "no image of a cat");
    assert!(fs::read_to_string(place.path("r.html")).unwrap().contains("mAP"));
    let text = infer(&place, &["evaluate", "--data", "list.csv"]).stdout;
    assert!(text.contains("mAP") && text.contains("100.00 %"), "{text}");
}

#[test]
fn what_is_undefined_without_labels_is_not_zero() {
    let place = place();
    fs::write(place.path("list.csv"), "path,label\nwide.png,\ntall.png,\n").unwrap();
    let said = infer(&place, &["evaluate", "--data", "list.csv", "--format", "json", "--report", "r.html"]);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((found["images"].as_u64(), &found["mean_average_precision"]), (Some(2), &Value::Null));
    let page = fs::read_to_string(place.path("r.html")).unwrap();
    assert!(
        !page.contains("<b>0.0\u{a0}%</b><span class=\"quiet\">mean average precision")
            && page.contains("<b>–</b>")
    );
    let text = infer(&place, &["evaluate", "--data", "list.csv"]).stdout;
    assert!(text.contains("- mean average precision") && text.contains("- micro, - macro"), "{text}");
}

#[test]
fn a_label_that_the_model_lacks_is_named() {
    let place = place();
    fs::write(place.path("list.csv"), "path,label\nwide.png,eel;yak\n").unwrap();
    infer(&place, &["evaluate", "--data", "list.csv"]).fails(2, &["list.csv", "yak"]);
}
