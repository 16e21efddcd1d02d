//! Tests of data sets as people have them: splits by other names, lists, odd names, and files that are no images.

use std::fs;

use serde_json::Value;

use crate::support::{BLUE, GREEN, RED, Said, Workplace};

/// Makes two images of each class below `folder`.
fn add_classes(place: &Workplace, folder: &str) {
    for (class, color) in [("red", RED), ("green", GREEN), ("blue", BLUE)] {
        for index in 0..2 {
            place.image(&format!("{folder}/{class}/{index}.png"), color);
        }
    }
}

fn evaluated(place: &Workplace, data: &str) -> Said {
    Said::by(place.infer().args(["evaluate", "--data", data]))
}

fn evaluated_as_json(place: &Workplace, data: &str) -> Value {
    let said = Said::by(place.infer().args(["evaluate", "--data", data, "--format", "json"]));
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    serde_json::from_str(&said.stdout).unwrap()
}

#[test]
fn the_test_split_is_found_by_any_of_its_names_and_said() {
    for test in ["Test", "Testing", "seg_test/seg_test", "test_set"] {
        let place = Workplace::new();
        add_classes(&place, &format!("p/{test}"));
        place.image("p/Train/other/1.png", RED);
        place.image("p/Train/more/1.png", RED);
        let found = evaluated_as_json(&place, "p");
        assert_eq!((&found["images"], &found["split"]), (&6.into(), &"test".into()));
        let said = evaluated(&place, "p").stdout;
        for part in ["the test images", "training images in Train", &format!("test images in {test}")] {
            assert!(
                said.split_whitespace().collect::<Vec<_>>().join(" ").contains(part),
                "`{part}`:\n{said}"
            );
        }
    }
}

#[test]
fn validation_images_stand_in_for_test_images_and_training_images_do_not() {
    let place = Workplace::new();
    add_classes(&place, "p/train");
    evaluated(&place, "p").fails(2, &["--data: p holds training images only", "name p/train"]);
    assert_eq!(evaluated_as_json(&place, "p/train")["split"], Value::Null);
    add_classes(&place, "p/valid");
    let found = evaluated_as_json(&place, "p");
    assert_eq!((&found["images"], &found["split"]), (&6.into(), &"validation".into()));
}

#[test]
fn splits_without_labels_and_unclear_classes_are_refused() {
    let place = Workplace::new();
    place.image("p/train/1.png", RED);
    place.image("p/test/1.png", RED);
    evaluated(&place, "p").fails(2, &["p has the split folders test, train", "in no class folders"]);
    add_classes(&place, "q/one");
    add_classes(&place, "q/two");
    evaluated(&place, "q").fails(2, &["q (one, two) all hold the same folders (blue, green, red)"]);
}

#[test]
fn what_is_left_out_is_counted_and_named() {
    let place = Workplace::new();
    add_classes(&place, "p");
    for (name, text) in [("p/red/notes.txt", "text"), ("p/red/.DS_Store", "x"), ("p/green/@eaDir/1.png", "x")]
    {
        fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        fs::write(place.path(name), text).unwrap();
    }
    fs::rename(place.path("p/red/0.png"), place.path("p/red/photo")).unwrap();
    let found = evaluated_as_json(&place, "p");
    assert_eq!((&found["images"], &found["accuracy"]), (&6.into(), &1.0.into()));
    let reasons: Vec<_> =
        found["left_out"].as_array().unwrap().iter().map(|entry| &entry["reason"]).collect();
    assert_eq!(reasons, ["system", "hidden", "not_an_image"]);
    let said = Said::by(place.infer().args(["classify", "p", "--format", "csv", "--top-k", "1"]));
    assert_eq!(said.code, 0);
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with("p/")).count(), 6);
    let expected = "left out: not an image: 1 (p/red/notes.txt); hidden: 1 (p/red/.DS_Store); of the system or a tool: \
                    1 (p/green/@eaDir)\n";
    assert_eq!(said.stderr, expected);
}

/// 22 JPEGs of which four are called `.jpg`.
#[test]
fn an_image_of_any_ending_is_classified() {
    let place = Workplace::new();
    place.image("p/1.jpg", RED);
    let bytes = fs::read(place.path("p/1.jpg")).unwrap();
    for name in ["2.jfif", "3.jpe", "4.heic", "5", "6.PNG", "7.txt"] {
        fs::write(place.path(&format!("p/{name}")), &bytes).unwrap();
    }
    let said = Said::by(place.infer().args(["classify", "p", "--format", "jsonl"]));
    assert_eq!((said.code, said.stderr.as_str(), said.stdout.lines().count()), (0, "", 7));
}

#[test]
fn a_list_is_evaluated_as_folders_are() {
    let place = Workplace::new();
    add_classes(&place, "p");
    let rows = |split: &str| {
        ["red", "green", "blue"].map(|class| format!("p/{class}/0.png,{class}{split}\n")).concat()
    };
    fs::write(place.path("list.csv"), format!("\u{feff}path,label\r\n{}", rows("").replace('\n', "\r\n")))
        .unwrap();
    let found = evaluated_as_json(&place, "list.csv");
    assert_eq!(
        (&found["images"], &found["accuracy"], &found["split"]),
        (&3.into(), &1.0.into(), &Value::Null)
    );
    let text = format!("path,label,split\np/red/1.png,red,train\n{}", rows(",Test"));
    fs::write(place.path("list.csv"), text).unwrap();
    let found = evaluated_as_json(&place, "list.csv");
    assert_eq!((&found["images"], &found["split"]), (&3.into(), &"test".into()));
    let refused = |text: &str, parts: &[&str]| {
        fs::write(place.path("list.csv"), text).unwrap();
        evaluated(&place, "list.csv").fails(2, parts);
    };
    refused(
        "path,label\np/red/0.png,red\np/red/9.png,red\n",
        &["--data: list.csv, line 3: no such file: p/red/9.png"],
    );
    refused(
        "path,label\np/red/0.png,red\np/red/1.png,pink\n",
        &["class pink in list.csv, line 3", "red, green, blue"],
    );
    refused(
        "path,label,split\np/red/0.png,red,tets\n",
        &["list.csv, line 2: `tets` is not the name of a split"],
    );
    refused(
        "path,label\np/red/0.png,red\np/red/0.png,red\n",
        &["list.csv, line 3", "listed before, in line 2"],
    );
    refused("path,label,split\np/red/0.png,red,train\n", &["list.csv holds training images only"]);
    refused("what is this\n", &["list.csv: the columns are unknown (what is this)", "path,label"]);
    place.image("a.png", RED);
    evaluated(&place, "a.png").fails(2, &["a.png: not a list of images"]);
}

#[cfg(target_os = "linux")]
mod odd_names {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    use super::*;

    fn path(place: &Workplace, bytes: &[u8]) -> PathBuf {
        place.path("").join(OsStr::from_bytes(bytes))
    }

    #[test]
    fn names_never_reach_a_terminal_raw() {
        let place = Workplace::new();
        let name = "p/red/\u{1b}[31m\u{202e}a\n.png";
        place.image(name, RED);
        fs::write(place.path("p/red/\u{1b}]0;x\u{7}.png"), "text").unwrap();
        fs::write(place.path("p/red/\u{1b}.txt"), "text").unwrap();
        let data = Said::by(place.infer().args(["evaluate", "--data", "p"]));
        let table = Said::by(place.infer().args(["classify", "p"]));
        for said in [&data, &table] {
            assert_eq!(said.code, 1);
            for text in [&said.stdout, &said.stderr] {
                assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{text}");
            }
        }
        assert!(table.stdout.starts_with("p/red/\\u{1b}[31m\\u{202e}a\\n.png\n"), "{}", table.stdout);
        assert!(
            table.stderr.contains("error: p/red/\\u{1b}]0;x\\u{7}.png: not an image"),
            "{}",
            table.stderr
        );
        // Data is exact.
        let json = Said::by(place.infer().args(["classify", "p", "--format", "json"])).stdout;
        let results: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(results[0]["path"], name);
    }

    #[test]
    fn paths_that_are_not_utf8_are_told_apart() {
        let place = Workplace::new();
        place.image("p/red/1.png", RED);
        for name in [&b"p/red/\xe9.png"[..], b"p/red/\xe8.png"] {
            fs::copy(place.path("p/red/1.png"), path(&place, name)).unwrap();
        }
        let said = Said::by(place.infer().args(["classify", "p", "--format", "jsonl"]));
        assert_eq!(said.code, 0);
        let results: Vec<Value> =
            said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(results[0].get("path_bytes").is_none() && results[0]["path"] == "p/red/1.png");
        assert_eq!(results[1]["path"], "p/red/\u{fffd}.png");
        assert_eq!(results[1]["path_bytes"], serde_json::json!(b"p/red/\xe8.png"));
        assert_eq!(results[2]["path_bytes"], serde_json::json!(b"p/red/\xe9.png"));
        fs::rename(place.path("p/red"), path(&place, b"p/r\xe9d")).unwrap();
        evaluated(&place, "p").fails(2, &["class folder p/r\\xE9d has a name that is not UTF-8"]);
    }

    #[test]
    fn a_class_is_found_in_either_unicode_form() {
        let place = Workplace::without_model();
        let labels = |labels: [&str; 3]| {
            let model = crate::support::model_with(|card| card.labels = labels.map(Into::into).to_vec());
            fs::write(place.path("model.onnx"), model).unwrap();
        };
        labels(["caf\u{e9}", "b", "c"]);
        place.image("p/cafe\u{301}/1.png", RED);
        assert_eq!(evaluated_as_json(&place, "p")["accuracy"], 1.0);
        labels(["cafe\u{301}", "b", "c"]);
        assert_eq!(evaluated_as_json(&place, "p")["accuracy"], 1.0);
        labels(["crane", "b", "crane"]);
        place.image("q/crane/1.png", RED);
        evaluated(&place, "q").fails(2, &["class crane in q is ambiguous"]);
    }
}
