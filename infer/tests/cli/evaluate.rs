//! Tests of `infer evaluate` with figures that are counted by hand.

use std::fs;

use serde_json::Value;

use crate::support::{BLUE, GREEN, RED, Said, Workplace};

/// Makes three images of each class; one of the blue ones is green.
fn data_set(folder: &str) -> Workplace {
    let place = Workplace::new();
    for (class, color) in [("red", RED), ("green", GREEN), ("blue", BLUE)] {
        for index in 0..3 {
            let color = if class == "blue" && index == 2 { GREEN } else { color };
            place.image(&format!("{folder}/{class}/{index}.png"), color);
        }
    }
    place
}

fn evaluated(place: &Workplace, args: &[&str]) -> Said {
    Said::by(place.infer().args(["evaluate", "--data", "photos"]).args(args))
}

#[test]
fn figures_are_those_counted_by_hand() {
    let said = evaluated(&data_set("photos"), &["--format", "json"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["images"], 9);
    assert!((found["accuracy"].as_f64().unwrap() - 8.0 / 9.0).abs() < 1e-12);
    assert_eq!(found["top5_accuracy"], 1.0, "there are three classes");
    assert_eq!(found["confusion"], serde_json::json!([[3, 0, 0], [0, 3, 0], [0, 1, 2]]));
    let green = &found["classes"][1];
    assert_eq!(
        (&green["label"], &green["precision"], &green["recall"]),
        (&"green".into(), &0.75.into(), &1.0.into())
    );
    assert!(found["calibration"]["error"].as_f64().unwrap() > 0.0);
    let number = |value: &Value| value.as_f64().unwrap();
    // Right values by SciPy: binomtest(8, 9).proportion_ci(0.95, method="wilson").
    assert!((number(&found["accuracy_interval"]["low"]) - 0.565_000_294_423_343_9).abs() < 1e-9, "{found}");
    assert!((number(&found["accuracy_interval"]["high"]) - 0.980_109_112_361_455_1).abs() < 1e-9, "{found}");
    // One green image among those of blue: red ranks first everywhere, green and blue but for that one.
    assert_eq!(found["classes"][0]["roc_auc"], 1.0);
    let [mean, weighted] = ["macro", "weighted"].map(|average| number(&found["roc_auc"][average]));
    assert!((mean - weighted).abs() < 1e-12, "as many images of each class: {mean} {weighted}");
    assert!(number(&found["average_precision"]["micro"]) > 0.8 && number(&found["brier_score"]) > 0.0);
    assert!(number(&found["negative_log_likelihood"]) > 0.0);
    assert_eq!(found["weighted_average"]["recall"], found["accuracy"]);
    assert_eq!(found["classes_without_images"], 0);
    assert_eq!(found["mistakes"][0]["path"], "photos/blue/2.png");
    assert_eq!(found["mistakes"][0]["predicted"], "green");
    assert_eq!(found["provider"], "CPUExecutionProvider");
}

#[test]
fn start_and_steady_state_are_told_apart() {
    let place = data_set("photos");
    let of = |args: &[&str]| -> Value {
        let said = evaluated(&place, &[&["--device", "cpu", "--format", "json"], args].concat());
        serde_json::from_str(&said.stdout).expect(&said.stderr)
    };
    let found = of(&["--batch", "2"]);
    for step in ["library", "session", "first_batch"] {
        assert!(found["start_seconds"][step].as_f64().unwrap() > 0.0, "{step}");
    }
    assert!(found["steady_images_per_second"].as_f64().unwrap() > 0.0, "five batches");
    assert!(found["images_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(found["batch"], 2);
    let few = of(&[]);
    assert_eq!((&few["batch"], &few["steady_images_per_second"]), (&8.into(), &Value::Null));
    for (args, batch) in [(&["--batch", "2"][..], 2), (&[], 8)] {
        let said = evaluated(&place, &[&["--device", "cpu"], args].concat());
        let line = said.stdout.lines().find(|line| line.starts_with("speed")).unwrap();
        assert!(line.contains("start ") && line.contains(" s, then "), "{line}");
        assert!(line.ends_with(&format!(" images/s on CPU in batches of {batch}")), "{line}");
    }
}

#[test]
fn what_is_undefined_is_said() {
    let place = data_set("photos");
    fs::remove_dir_all(place.path("photos/blue")).unwrap();
    let said = evaluated(&place, &["--format", "json"]);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    let blue = &found["classes"][2];
    for key in ["precision", "recall", "f1", "roc_auc", "average_precision"] {
        assert_eq!(blue[key], Value::Null, "{key}");
    }
    assert_eq!((&blue["support"], &found["classes_without_images"]), (&0.into(), &1.into()));
    assert_eq!(found["macro_average"]["f1"], 1.0, "the other classes are right");
    let said = evaluated(&place, &["--report", "report.html"]);
    assert!(said.stdout.contains("1 of 3 classes, which have no image"), "{}", said.stdout);
    assert!(fs::read_to_string(place.path("report.html")).unwrap().contains("1 of 3 classes have no image"));
}

#[test]
fn the_text_names_what_is_mistaken() {
    let said = evaluated(&data_set("photos"), &[]);
    for part in ["accuracy       88.89 %", "top-5          100.00 %", "blue taken for green: 1 of 3"] {
        assert!(said.stdout.contains(part), "`{part}` is not in:\n{}", said.stdout);
    }
    assert!(said.stdout.lines().all(|line| line.chars().count() <= 80), "{}", said.stdout);
}

#[test]
fn the_page_is_one_file_with_the_mistake_as_an_image() {
    let place = data_set("photos");
    let said = evaluated(&place, &["--report", "report.html"]);
    assert_eq!(said.stderr, "report: report.html\n");
    let page = fs::read_to_string(place.path("report.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 1);
    for part in
        ["88.9\u{a0}%", "blue taken for green: 1 of 3", "blue/2.png", "Calibration", "false positive rate"]
    {
        assert!(page.contains(part), "`{part}` is not in the page");
    }
    assert!(!page.contains("://"), "it asks for nothing elsewhere");

    evaluated(&place, &["--report", "none/report.html"])
        .fails(2, &["--report none/report.html", "no folder none"]);
}

#[test]
fn held_out_images_are_preferred_and_bad_ones_are_named() {
    let place = data_set("photos/test");
    place.image("photos/train/other/1.png", RED);
    fs::write(place.path("photos/test/red/bad.png"), "text").unwrap();
    let said = evaluated(&place, &[]);
    said.fails(1, &["photos/test/red/bad.png", "not an image"]);
    assert!(said.stdout.contains("9 of photos, 1 more failed"), "{}", said.stdout);
}

#[test]
fn data_that_cannot_be_evaluated_is_refused() {
    let place = Workplace::new();
    evaluated(&place, &[]).fails(2, &["--data", "photos"]);
    place.image("photos/purple/1.png", RED);
    evaluated(&place, &[]).fails(2, &["class purple", "red, green, blue"]);
}
