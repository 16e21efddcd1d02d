//! Runs the examples on a model of three colours.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "../examples/classify_folder.rs"]
#[allow(dead_code)] // its `main` is for the command line
mod classify_folder;
#[path = "../examples/classify_image.rs"]
#[allow(dead_code)] // its `main` is for the command line
mod classify_image;
#[path = "../examples/share_between_threads.rs"]
#[allow(dead_code)] // its `main` is for the command line
mod share_between_threads;
#[path = "cli/support.rs"]
#[allow(dead_code)] // the rest is for the program's tests
mod support;

use support::{BLUE, GREEN, RED, Workplace, runtime};

/// Makes a folder with a model and an image of each colour, and loads the runtime of the tests.
fn place() -> Workplace {
    ferronnx_infer::runtime::load(Some(&runtime())).unwrap();
    let place = Workplace::new();
    for (name, color) in [("p/blue.png", BLUE), ("p/green.png", GREEN), ("p/red.png", RED)] {
        place.image(name, color);
    }
    place
}

#[test]
fn one_image() {
    let (place, mut out) = (place(), Vec::new());
    classify_image::run(&place.path("model.onnx"), &place.path("p/red.png"), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.lines().next().unwrap().ends_with("% red"), "{text}");
    let missing = classify_image::run(&place.path("model.onnx"), &place.path("none.png"), &mut Vec::new());
    assert!(missing.unwrap_err().to_string().ends_with("none.png: no such file or folder"));
}

#[test]
fn a_folder() {
    let (place, mut out) = (place(), Vec::new());
    std::fs::write(place.path("p/text.png"), "text").unwrap();
    classify_folder::run(&place.path("model.onnx"), &place.path("p"), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let ends = ["blue.png: blue", "green.png: green", "red.png: red"];
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.lines().zip(ends).all(|(line, end)| line.ends_with(end)), "{text}");
    assert!(text.contains("text.png: not an image"), "{text}");
}

#[test]
fn several_threads() {
    let (place, mut out) = (place(), Vec::new());
    let images = ["p/red.png", "p/blue.png", "p/red.png", "p/green.png"].map(|name| place.path(name));
    share_between_threads::run(&place.path("model.onnx"), &images, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let labels: Vec<_> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(labels, ["red", "blue", "red", "green"], "{text}");
}
