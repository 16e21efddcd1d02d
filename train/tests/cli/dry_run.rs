//! `train fit --dry-run`: what is in a data set.

use std::fs;

use image::{DynamicImage, ImageBuffer, Luma, Rgb, RgbImage};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::common::{COLOURS, colour_set, colours};
use crate::{fit, stderr, train};

/// Findings as JSON, with the exit code.
fn findings(command: &mut assert_cmd::Command) -> (Value, i32) {
    let output = command.args(["--dry-run", "--format", "json"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let value = serde_json::from_slice(&output.stdout);
    (value.unwrap_or_else(|error| panic!("{error}: {text}")), output.status.code().unwrap())
}

#[test]
fn a_clean_set_is_described_and_nothing_is_written() {
    let (dir, _) = colour_set();
    let (found, code) = findings(&mut fit(dir.path()));
    assert_eq!(code, 0);
    assert_eq!(found["parts"], json!({"train": 39, "validation": 3, "test": 12}));
    assert_eq!(found["classes"][0], json!({"name": "blue", "train": 13, "validation": 1, "test": 4}));
    assert_eq!(found["sizes"]["median"], json!([8, 8]));
    assert_eq!((&found["formats"], &found["pixels"]), (&json!({"PNG": 54}), &json!({"RGB": 54})));
    assert_eq!((&found["unreadable"], &found["imbalance"]), (&json!([]), &json!(1.0)));
    assert_eq!(found["network"]["image_size"], 8);
    assert_eq!(found["network"]["parameters"].as_u64(), Some(11_214_283));
    assert_eq!(found["recipe"]["batch_size"], 16);
    let memory = |part: &str| found["memory"][part].as_u64().unwrap();
    assert_eq!(memory("images"), 54 * 3 * 8 * 8);
    assert_eq!(memory("total"), memory("images") + memory("network") + memory("batch"));
    assert_eq!(memory("window"), 0);
    assert_eq!((&found["warnings"], &found["duplicates"]), (&json!([]), &json!([])));
    assert!(!dir.path().join("run").exists());
}

#[test]
fn what_is_wrong_with_a_set_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("colours");
    colours(&data, "train", &COLOURS[..2], 10);
    colours(&data, "train", &COLOURS[2..], 5);
    let copy = |from: &str, to: &str| {
        fs::create_dir_all(data.join(to).parent().unwrap()).unwrap();
        fs::copy(data.join(from), data.join(to)).unwrap()
    };
    copy("train/red/000.png", "test/red/leak.png");
    copy("train/red/001.png", "train/blue/other.png");
    fs::write(data.join("train/red/note.txt"), "text").unwrap();
    // The first image is unreadable, which is a finding and no reason to end.
    fs::write(data.join("train/blue/000.png"), "no image").unwrap();
    RgbImage::from_pixel(30, 20, Rgb([1, 2, 3])).save(data.join("test/red/large.bmp")).unwrap();
    let (found, code) = findings(&mut fit(dir.path()));
    assert_eq!(code, 1, "as infer ends after images that it cannot read");
    let unreadable = &found["unreadable"];
    assert!(unreadable[0]["path"].as_str().unwrap().ends_with("train/blue/000.png"), "{unreadable}");
    assert_eq!((unreadable.as_array().unwrap().len(), &unreadable[0]["damaged"]), (1, &json!(true)));
    assert_eq!((&found["imbalance"], &found["sizes"]["largest"]), (&json!(2.5), &json!([30, 20])));
    assert_eq!(found["left_out"][0]["reason"], "not_an_image");
    assert_eq!(found["duplicates"].as_array().unwrap().len(), 2);
    let warnings = found["warnings"].to_string();
    for part in [
        "1 test image has the content of training or validation images",
        "test/red/leak.png is ",
        "with different classes",
    ] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    let text = fit(dir.path()).arg("--dry-run").output().unwrap();
    assert_eq!(text.status.code(), Some(1));
    let text = String::from_utf8(text.stdout).unwrap();
    for part in [
        "unreadable: ",
        "000.png: ",
        "warning: 1 test image has",
        "left out       not an image: 1",
        "2.5 to 1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fit(dir.path()).args(["--dry-run", "--skip-bad"]).assert().success();
}

#[test]
fn a_real_run_warns_of_leaks_and_of_dark_images() {
    let (dir, data) = colour_set();
    fs::copy(data.join("test/red/001.png"), data.join("train/red/leak.png")).unwrap();
    let leak = contains("1 test image has the content of training or validation images: the test");
    fit(dir.path()).args(["--epochs", "1"]).assert().success().stderr(leak);
    let dark = dir.path().join("dark");
    for (class, step) in [("a", 100), ("b", 200)] {
        fs::create_dir_all(dark.join(class)).unwrap();
        for index in 0..6u16 {
            let image: ImageBuffer<Luma<u16>, _> =
                ImageBuffer::from_fn(8, 8, |x, y| Luma([(x * y) as u16 * step / 4 + index]));
            DynamicImage::ImageLuma16(image).save(dark.join(format!("{class}/{index}.png"))).unwrap();
        }
    }
    let begun = |out: &str, channels: &str| {
        let mut command = fit(dir.path());
        command.args(["--data", "dark", "--epochs", "1", "--out", out, "--channels", channels]);
        command
    };
    let said = |command: &mut assert_cmd::Command| {
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{text}");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let gray = "note: all 12 images looked at are gray: --channels gray trains a network of one channel";
    let range = "the values of 12 16-bit images use 3.7 % of their range (up to 2,455 of 65,535)";
    let text = said(&mut begun("dark-rgb", "rgb"));
    assert!(text.contains(gray) && text.contains(range), "{text}");
    let text = said(&mut begun("dark-gray", "gray"));
    assert!(!text.contains(gray) && text.contains(range), "{text}");
    let (found, _) = findings(&mut begun("none", "gray"));
    assert_eq!((&found["pixels"], &found["colourless"]), (&json!({"gray 16 bits": 12}), &json!(12)));
    assert_eq!(found["network"]["channels"], 1);
}

#[test]
fn flags_of_a_dry_run() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--format", "json"]).assert().code(2).stderr(contains("--dry-run"));
    train(dir.path()).args(["fit", "--resume", "run", "--dry-run"]).assert().code(2);
    let error = stderr(fit(dir.path()).args(["--dry-run", "--pretrained", "nothing.pth"]));
    assert!(error.contains("cannot read --pretrained nothing.pth"), "{error}");
}

#[test]
fn a_dry_run_refuses_what_a_run_refuses() {
    let (dir, _) = colour_set();
    let recipe = |top: &str, train: &str| {
        let phase =
            format!("[[phase]]\nname = \"a\"\nepochs = 3\nlearning_rate = 1e-3\ntrain = [{train:?}]\n");
        fs::write(dir.path().join("my.toml"), format!("name = \"my\"\nbatch_size = 16\n{top}\n{phase}"))
            .unwrap();
    };
    for (top, train, flags, why) in [
        ("", "@all", &["--class-weights", "cow=2"][..], "class weights name cow"),
        ("best = \"map\"", "@all", &[], "accuracy, macro-f1 or loss for one label"),
        ("", "@stages:9", &[], "@stages:9"),
        ("", "nothing.*", &[], "nothing.*"),
    ] {
        recipe(top, train);
        for dry_run in [&["--dry-run"][..], &["--out", "other"]] {
            let error = stderr(fit(dir.path()).args(["--recipe", "my.toml"]).args(dry_run).args(flags));
            assert!(error.contains(why), "{error}");
        }
    }
    recipe("accumulate = 9\n[augment]\ncutout = 0.05\ncrop_padding = 0.05", "@all");
    fit(dir.path()).args(["--recipe", "my.toml"]).assert().success().stdout(
        contains("augment.cutout = 0.05 does nothing")
            .and(contains("augment.crop_padding = 0.05 does nothing"))
            .and(contains("accumulate = 9 is more than the 3 batches of an epoch")),
    );
}
